//! The attributes that the normaliser reads, numbered, so that a span's attributes are looked at once each.

/// An attribute that the normaliser knows by name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Key(u8);

/// Keys for a lookup, newest first. A name that is not in the list does not compile.
macro_rules! keys {
    ($($name:literal),+ $(,)?) => {
        const { [$(crate::sent::Key::named($name)),+] }
    };
}
pub(crate) use keys;

/// Every attribute that is looked up by its key.
const KEYS: [&str; 66] = [
    "aws.queue_url",
    "aws.sqs.queue.url",
    "az.namespace",
    "error.type",
    "message_bus.destination",
    "messaging.batch.message_count",
    "messaging.client.id",
    "messaging.client_id",
    "messaging.consumer.group.name",
    "messaging.consumer.id",
    "messaging.consumer_id",
    "messaging.destination",
    "messaging.destination.name",
    "messaging.destination.partition.id",
    "messaging.destination.subscription.name",
    "messaging.destination.template",
    "messaging.destination.temporary",
    "messaging.eventhubs.consumer.group",
    "messaging.kafka.client_id",
    "messaging.kafka.cluster.id",
    "messaging.kafka.consumer.group",
    "messaging.kafka.consumer_group",
    "messaging.kafka.destination.partition",
    "messaging.kafka.message.key",
    "messaging.kafka.message.offset",
    "messaging.kafka.message.tombstone",
    "messaging.kafka.message_key",
    "messaging.kafka.offset",
    "messaging.kafka.partition",
    "messaging.kafka.source.partition",
    "messaging.kafka.tombstone",
    "messaging.message.body.size",
    "messaging.message.envelope.size",
    "messaging.message.id",
    "messaging.message.payload_size_bytes",
    "messaging.message_id",
    "messaging.message_payload_size_bytes",
    "messaging.operation",
    "messaging.operation.name",
    "messaging.operation.type",
    "messaging.rabbitmq.destination.routing_key",
    "messaging.rabbitmq.routing_key",
    "messaging.rocketmq.client_group",
    "messaging.servicebus.destination.subscription_name",
    "messaging.source.name",
    "messaging.system",
    "messaging.url",
    "net.peer.name",
    "net.peer.port",
    "network.peer.address",
    "network.peer.port",
    "peer.address",
    "peer.service",
    "rpc.method",
    "server.address",
    "server.port",
    "spring.kafka.listener.id",
    // Of an exception's event.
    "exception.message",
    "exception.stacktrace",
    "exception.type",
    // Of a resource.
    "deployment.environment",
    "deployment.environment.name",
    "service.instance.id",
    "service.name",
    "service.namespace",
    "service.version",
];

/// How many keys there are.
pub(super) const COUNT: usize = KEYS.len();

const BUCKETS: usize = 256;
const NONE: u8 = u8::MAX;

/// By [`bucket`], the keys that fall there.
static TABLE: [[u8; 4]; BUCKETS] = table();

const fn bucket(name: &[u8]) -> usize {
    // Keys share their beginnings; length, end and middle tell them apart.
    let (last, middle) = (name[name.len() - 1], name[name.len() / 2]);
    (name.len() * 7 + last as usize * 5 + middle as usize * 3) % BUCKETS
}

const fn table() -> [[u8; 4]; BUCKETS] {
    let mut table = [[NONE; 4]; BUCKETS];
    let mut key = 0;
    while key < COUNT {
        let bucket = bucket(KEYS[key].as_bytes());
        let mut place = 0;
        while table[bucket][place] != NONE {
            place += 1;
        }
        table[bucket][place] = key as u8;
        key += 1;
    }
    table
}

impl Key {
    /// The key of that name; does not compile when there is none.
    pub(crate) const fn named(name: &str) -> Self {
        let mut key = 0;
        while key < COUNT {
            if same(KEYS[key].as_bytes(), name.as_bytes()) {
                return Self(key as u8);
            }
            key += 1;
        }
        panic!("the list of keys lacks this one")
    }

    /// Recognises an attribute's name.
    #[inline]
    pub(super) fn of(name: &[u8]) -> Option<Self> {
        if name.is_empty() {
            return None;
        }
        TABLE[bucket(name)]
            .iter()
            .take_while(|key| **key != NONE)
            .find(|key| KEYS[usize::from(**key)].as_bytes() == name)
            .map(|key| Self(*key))
    }

    #[inline]
    pub(super) fn index(self) -> usize {
        usize::from(self.0)
    }
}

const fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::{KEYS, Key};

    #[test]
    fn each_key_is_recognised_and_nothing_else_is() {
        for (index, name) in KEYS.iter().enumerate() {
            assert_eq!(
                Key::of(name.as_bytes()).map(Key::index),
                Some(index),
                "{name}"
            );
            assert_eq!(Key::named(name).index(), index);
        }
        for name in ["", "x", "messaging.systems", "service.Name", "http.route"] {
            assert_eq!(Key::of(name.as_bytes()), None, "{name}");
        }
    }
}
