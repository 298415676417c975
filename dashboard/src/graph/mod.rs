//! The flow map's geometry: pure, so that it is tested without a browser.
