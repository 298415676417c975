//! The names that spans carry, as numbers: services, and where consumers read.
//!
//! Everything that is compared or counted for each span is compared by these numbers; the names themselves are read
//! again only when a map is asked for or a checkpoint written.

use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use highwater_model::span::Messaging;
use highwater_model::{Operation, ServiceKey};

use crate::intern::Interner;
use crate::key::{Key, Reader, TopicRef};

/// Names of which none may be in use; above this many, those that came since the last sweep are looked through.
const SWEEP_AT_LEAST: usize = 16_384;

/// A service's number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct ServiceId(pub(crate) u32);

/// A reader's number; that of a topic alone where there is neither group nor client.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct ReaderId(pub(crate) u32);

/// A word's number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Word(u32);

/// What stitching asks about a reader.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Reading {
    pub(crate) reader: ReaderId,
    system: Word,
    /// Of the topic.
    pub(crate) name: Word,
    pub(crate) group: Option<Word>,
    /// The cluster's id.
    pub(crate) cluster: Option<Word>,
    pub(crate) has_address: bool,
}

impl Reading {
    pub(crate) fn same_topic(&self, other: &Self) -> bool {
        self.name == other.name && self.system == other.system
    }

    /// Both name a cluster by id, and not the same.
    pub(crate) fn other_cluster(&self, other: &Self) -> bool {
        matches!((self.cluster, other.cluster), (Some(a), Some(b)) if a != b)
    }
}

/// A reader whose cluster may have to be taken from a producer it is stitched to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Located {
    pub(crate) reader: ReaderId,
    /// Names the cluster, or where none does, the address.
    pub(crate) from: Option<ReaderId>,
}

/// What a series counts, by numbers: see [`Key`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum RawKey {
    Seen(ServiceId),
    Produce(ServiceId, ReaderId, Option<ReaderId>),
    Consume(ServiceId, ReaderId),
    Call(ServiceId, ServiceId),
}

/// What is in use, by number.
#[derive(Default)]
pub(crate) struct Used {
    services: Vec<bool>,
    readers: Vec<bool>,
}

impl Used {
    pub(crate) fn service(&mut self, service: ServiceId) {
        mark(&mut self.services, service.0);
    }

    pub(crate) fn reader(&mut self, reader: ReaderId) {
        mark(&mut self.readers, reader.0);
    }

    pub(crate) fn key(&mut self, key: RawKey) {
        match key {
            RawKey::Seen(service) => self.service(service),
            RawKey::Produce(service, topic, via) => {
                self.service(service);
                self.reader(topic);
                via.into_iter().for_each(|via| self.reader(via));
            }
            RawKey::Consume(service, reader) => {
                self.service(service);
                self.reader(reader);
            }
            RawKey::Call(caller, callee) => {
                self.service(caller);
                self.service(callee);
            }
        }
    }
}

fn mark(used: &mut [bool], number: u32) {
    if let Some(used) = used.get_mut(number as usize) {
        *used = true;
    }
}

/// All names in use.
#[derive(Clone, Default, Debug)]
pub(crate) struct Names {
    services: Interner<ServiceKey>,
    readers: Interner<Reader>,
    /// By number of the reader.
    readings: Vec<Reading>,
    words: Interner<Arc<str>>,
    /// Readers that were given another's cluster.
    located: HashMap<(ReaderId, ReaderId), ReaderId, RandomState>,
    /// How many names there were after the last sweep.
    swept: usize,
}

/// A reader in parts, so that a known one needs no copies.
type Parts<'p> = (&'p str, &'p str, [Option<&'p str>; 4]);

fn parts(reader: &Reader) -> Parts<'_> {
    let topic = &reader.topic;
    (
        &topic.system,
        &topic.name,
        [
            topic.cluster_id.as_deref(),
            topic.address.as_deref(),
            reader.group.as_deref(),
            reader.client.as_deref(),
        ],
    )
}

impl Names {
    pub(crate) fn service(&mut self, service: &ServiceKey) -> ServiceId {
        ServiceId(
            self.services
                .number(service, |known| known == service, || service.clone()),
        )
    }

    pub(crate) fn service_key(&self, service: ServiceId) -> Option<&ServiceKey> {
        self.services.get(service.0)
    }

    /// The reader that a messaging span names; `None` where it names no topic. Only one that consumes has a group.
    pub(crate) fn reading(&mut self, messaging: &Messaging) -> Option<Reading> {
        let name = messaging.destination.as_ref()?;
        let consumes = matches!(messaging.operation, Operation::Receive | Operation::Process);
        let group = messaging.group.as_ref().filter(|_| consumes);
        let client = messaging
            .client_id
            .as_ref()
            .filter(|_| consumes && group.is_none());
        let wanted: Parts<'_> = (
            &messaging.system,
            name,
            [
                messaging.cluster.id.as_deref(),
                messaging.cluster.address.as_deref(),
                group.map(|group| &**group),
                client.map(|client| &**client),
            ],
        );
        Some(self.known(wanted, || Reader {
            topic: TopicRef {
                system: messaging.system.clone(),
                name: name.clone(),
                cluster_id: messaging.cluster.id.clone(),
                address: messaging.cluster.address.clone(),
            },
            group: group.cloned(),
            client: client.cloned(),
        }))
    }

    /// The number of a reader, and what is asked about it.
    pub(crate) fn reader(&mut self, reader: &Reader) -> Reading {
        self.known(parts(reader), || reader.clone())
    }

    /// The number of a topic alone.
    fn topic(&mut self, topic: &TopicRef) -> ReaderId {
        self.reader(&Reader {
            topic: topic.clone(),
            group: None,
            client: None,
        })
        .reader
    }

    fn known(&mut self, wanted: Parts<'_>, make: impl FnOnce() -> Reader) -> Reading {
        let (words, readings) = (&mut self.words, &mut self.readings);
        let mut made = None;
        let number = self.readers.number(
            &wanted,
            |known| parts(known) == wanted,
            || {
                let reader = make();
                let mut word = |word: &Arc<str>| {
                    Word(words.number(word, |known| known == word, || word.clone()))
                };
                made = Some(Reading {
                    reader: ReaderId(0),
                    system: word(&reader.topic.system),
                    name: word(&reader.topic.name),
                    group: reader.group.as_ref().map(&mut word),
                    cluster: reader.topic.cluster_id.as_ref().map(&mut word),
                    has_address: reader.topic.address.is_some(),
                });
                reader
            },
        );
        if let Some(made) = made {
            let reading = Reading {
                reader: ReaderId(number),
                ..made
            };
            match readings.get_mut(number as usize) {
                Some(old) => *old = reading,
                // Numbers are given one after the other.
                None => readings.push(reading),
            }
        }
        readings[number as usize]
    }

    pub(crate) fn reader_of(&self, reader: ReaderId) -> Option<&Reader> {
        self.readers.get(reader.0)
    }

    /// The reader with the cluster it was stitched to.
    pub(crate) fn locate(&mut self, located: Located) -> ReaderId {
        let Located {
            reader,
            from: Some(from),
        } = located
        else {
            return located.reader;
        };
        if let Some(&known) = self.located.get(&(reader, from)) {
            return known;
        }
        let (Some(own), Some(other)) = (self.reader_of(reader), self.reader_of(from)) else {
            return reader;
        };
        let mut own = own.clone();
        if other.topic.cluster_id.is_some() {
            own.topic.cluster_id.clone_from(&other.topic.cluster_id);
        } else {
            own.topic.address.clone_from(&other.topic.address);
        }
        let found = self.reader(&own).reader;
        self.located.insert((reader, from), found);
        found
    }

    /// A key in words; `None` for numbers that were never given.
    pub(crate) fn key(&self, raw: RawKey) -> Option<Key> {
        let service = |id| self.service_key(id).cloned();
        let reader = |id| self.reader_of(id).cloned();
        Some(match raw {
            RawKey::Seen(of) => Key::Seen {
                service: service(of)?,
            },
            RawKey::Produce(by, topic, via) => Key::Produce {
                service: service(by)?,
                topic: reader(topic)?.topic,
                via: match via {
                    Some(via) => Some(reader(via)?),
                    None => None,
                },
            },
            RawKey::Consume(by, from) => Key::Consume {
                service: service(by)?,
                reader: reader(from)?,
            },
            RawKey::Call(caller, callee) => Key::Call {
                caller: service(caller)?,
                callee: service(callee)?,
            },
        })
    }

    /// A key in numbers.
    pub(crate) fn raw(&mut self, key: &Key) -> RawKey {
        match key {
            Key::Seen { service } => RawKey::Seen(self.service(service)),
            Key::Produce {
                service,
                topic,
                via,
            } => RawKey::Produce(
                self.service(service),
                self.topic(topic),
                via.as_ref().map(|via| self.reader(via).reader),
            ),
            Key::Consume { service, reader } => {
                RawKey::Consume(self.service(service), self.reader(reader).reader)
            }
            Key::Call { caller, callee } => {
                RawKey::Call(self.service(caller), self.service(callee))
            }
        }
    }

    /// Nothing is in use, of all the names there are.
    pub(crate) fn unused(&self) -> Used {
        Used {
            services: vec![false; self.services.bound()],
            readers: vec![false; self.readers.bound()],
        }
    }

    /// Whether so many names came since the last sweep that the next should not wait.
    pub(crate) fn crowded(&self) -> bool {
        self.services.len() + self.readers.len() > SWEEP_AT_LEAST.max(2 * self.swept)
    }

    /// Forgets the names that are not in use.
    pub(crate) fn sweep(&mut self, used: &Used) {
        self.services.retain(&used.services);
        self.readers.retain(&used.readers);
        self.located.clear();
        let mut words = vec![false; self.words.bound()];
        for (number, reading) in self.readings.iter().enumerate() {
            if self.readers.get(number as u32).is_some() {
                let named = [Some(reading.system), Some(reading.name), reading.group];
                for word in named.into_iter().chain([reading.cluster]).flatten() {
                    mark(&mut words, word.0);
                }
            }
        }
        self.words.retain(&words);
        self.swept = self.services.len() + self.readers.len();
    }
}
