//! Trace and span identifiers.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// Takes the id from its wire bytes; `None` when the length is wrong or every byte is zero.
            #[must_use]
            pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
                let array: [u8; $len] = bytes.try_into().ok()?;
                (array != [0; $len]).then_some(Self(array))
            }

            /// Reads hexadecimal digits of either case; `None` when malformed or all zero.
            #[must_use]
            pub fn from_hex(text: &str) -> Option<Self> {
                let mut array = [0; $len];
                hex::decode_to_slice(text, &mut array).ok()?;
                (array != [0; $len]).then_some(Self(array))
            }

            /// Lower-case hexadecimal digits.
            #[must_use]
            pub fn to_hex(self) -> String {
                hex::encode(self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.to_hex())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.to_hex())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.to_hex())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                Self::from_hex(&text).ok_or_else(|| serde::de::Error::custom("not a valid id"))
            }
        }
    };
}

hex_id!(
    /// A W3C trace id; never all zero.
    TraceId,
    16
);
hex_id!(
    /// A W3C span id; never all zero.
    SpanId,
    8
);
