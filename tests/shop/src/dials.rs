//! What is done to a running service from outside.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::plan;

/// How a service works.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// At its own pace.
    #[default]
    Normal,
    /// Not at all: its partitions are paused, it stays a member of its group and polls. The storefront takes no orders.
    Paused,
    /// A quarter of a second more for each piece of work. The storefront takes a fifth of the orders.
    Slow,
    /// Every piece of work fails.
    Failing,
    /// As fast as it can, until what waits is worked off.
    Draining,
}

impl FromStr for Mode {
    type Err = UnknownAction;

    /// Reads the verb that leads to a mode: `pause`, `resume`, `slow`, `fail`, `drain`.
    fn from_str(verb: &str) -> Result<Mode, UnknownAction> {
        match verb {
            "resume" => Ok(Mode::Normal),
            "pause" => Ok(Mode::Paused),
            "slow" => Ok(Mode::Slow),
            "fail" => Ok(Mode::Failing),
            "drain" => Ok(Mode::Draining),
            _ => Err(UnknownAction(format!(
                "{verb:?} is not one of pause, resume, slow, fail, drain"
            ))),
        }
    }
}

/// A verb or a service that the shop does not know; says which there are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnknownAction(String);

impl fmt::Display for UnknownAction {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for UnknownAction {}

/// One dial a service.
#[derive(Debug)]
pub(crate) struct Dials {
    dials: BTreeMap<&'static str, watch::Sender<Mode>>,
}

impl Dials {
    /// Returns the dials of all services, at normal.
    pub(crate) fn new() -> Dials {
        let dials = plan::services()
            .into_iter()
            .map(|service| (service, watch::Sender::new(Mode::Normal)));
        Dials {
            dials: dials.collect(),
        }
    }

    /// Turns the dial of `service`, or of every service when it is `all`.
    pub(crate) fn turn(&self, service: &str, mode: Mode) -> Result<(), UnknownAction> {
        if service == "all" {
            for dial in self.dials.values() {
                dial.send_replace(mode);
            }
            return Ok(());
        }
        match self.dials.get(service) {
            Some(dial) => {
                dial.send_replace(mode);
                Ok(())
            }
            None => Err(UnknownAction(format!(
                "there is no service {service:?}; there are {} and all",
                plan::services().join(", ")
            ))),
        }
    }

    /// Returns the dial of a service of the plan.
    pub(crate) fn watch(&self, service: &'static str) -> watch::Receiver<Mode> {
        match self.dials.get(service) {
            Some(dial) => dial.subscribe(),
            None => watch::Sender::new(Mode::Normal).subscribe(),
        }
    }

    /// Returns the mode of every service.
    pub(crate) fn modes(&self) -> BTreeMap<String, Mode> {
        self.dials
            .iter()
            .map(|(service, dial)| ((*service).to_owned(), *dial.borrow()))
            .collect()
    }
}
