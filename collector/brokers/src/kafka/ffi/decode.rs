//! Between C's values and ours: lists in, answers out, every string copied.

use std::collections::{HashMap, HashSet};
use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr;
use std::slice;
use std::sync::Arc;

use highwater_model::broker::{Committed, GroupMember, Known, TopicPartition};
use rdkafka::bindings as rd;

use super::super::reason;
use super::owned::Owned;
use super::{CallError, DescribedGroup, Event, PartitionList};

pub(super) fn c_string(name: &str) -> Result<CString, CallError> {
    CString::new(name).map_err(|_| CallError::new(format!("{name:?} contains a zero byte")))
}

pub(super) fn c_strings(names: &[Arc<str>]) -> Result<Vec<CString>, CallError> {
    names.iter().map(|name| c_string(name)).collect()
}

pub(super) fn partition_list(asked: &[(TopicPartition, i64)]) -> Result<PartitionList, CallError> {
    let size = c_int::try_from(asked.len()).unwrap_or(0);
    // SAFETY: the size is only a hint; the list is destroyed by `Owned`.
    let list = unsafe {
        Owned::new(
            rd::rd_kafka_topic_partition_list_new(size),
            rd::rd_kafka_topic_partition_list_destroy,
            "a partition list",
        )?
    };
    let mut topic = CString::default();
    for (partition, offset) in asked {
        if topic.as_bytes() != partition.topic.as_bytes() {
            topic = c_string(&partition.topic)?;
        }
        // SAFETY: list and name are alive and the name is copied; the element returned stays valid until the next
        // add, and is written before that.
        unsafe {
            let element = rd::rd_kafka_topic_partition_list_add(
                list.ptr(),
                topic.as_ptr(),
                partition.partition,
            );
            (*element).offset = *offset;
        }
    }
    Ok(list)
}

/// Views a C array.
///
/// # Safety
/// `pointer` is null or points to `count` elements that live for `'a`.
pub(super) unsafe fn array<'a, T>(pointer: *const T, count: usize) -> &'a [T] {
    if pointer.is_null() || count == 0 {
        &[]
    } else {
        // SAFETY: as the caller promises.
        unsafe { slice::from_raw_parts(pointer, count) }
    }
}

/// Copies a C string; empty for null. Bytes that are not UTF-8 are replaced.
///
/// # Safety
/// `pointer` is null or points to a string that ends with a zero byte and is alive.
pub(super) unsafe fn text(pointer: *const c_char) -> Arc<str> {
    // SAFETY: as the caller promises.
    unsafe { optional_text(pointer) }.unwrap_or_else(|| Arc::from(""))
}

/// As [`text`], with `None` for null and for the empty string.
///
/// # Safety
/// As [`text`].
pub(super) unsafe fn optional_text(pointer: *const c_char) -> Option<Arc<str>> {
    if pointer.is_null() {
        return None;
    }
    // SAFETY: as the caller promises.
    let text = unsafe { CStr::from_ptr(pointer) }.to_string_lossy();
    (!text.is_empty()).then(|| Arc::from(text))
}

pub(super) fn error_text(error: *const rd::rd_kafka_error_t) -> String {
    // SAFETY: callers pass errors that are alive; null is allowed by the library.
    let words = unsafe { text(rd::rd_kafka_error_string(error)) };
    reason::answer(&words)
}

pub(super) fn kind(kind: rd::rd_kafka_consumer_group_type_t) -> &'static str {
    match kind {
        rd::rd_kafka_consumer_group_type_t::RD_KAFKA_CONSUMER_GROUP_TYPE_CONSUMER => "consumer",
        _ => "classic",
    }
}

/// The event's error, if it is one.
pub(super) fn event_error(event: &Event) -> Option<CallError> {
    /// `rd_kafka_event_error` with its result as the integer that it is.
    type Code = unsafe extern "C" fn(*mut rd::rd_kafka_event_t) -> c_int;
    let code: unsafe extern "C" fn(*mut rd::rd_kafka_event_t) -> rd::rd_kafka_resp_err_t =
        rd::rd_kafka_event_error;
    // SAFETY: the enum is `repr(i32)`, so both function types have one calling convention; read as an integer, a code
    // that the enum lacks is harmless. The event is alive.
    let code = unsafe {
        let code: Code = std::mem::transmute(code);
        code(event.ptr())
    };
    if code == 0 {
        return None;
    }
    // SAFETY: the event is alive and so is its string.
    let said = unsafe { optional_text(rd::rd_kafka_event_error_string(event.ptr())) };
    Some(match said {
        Some(words) => CallError::new(reason::answer(&words)),
        None => CallError::new(format!("error {code}")),
    })
}

/// An error code as words.
pub(super) fn code_text(code: c_int) -> Arc<str> {
    type Text = unsafe extern "C" fn(c_int) -> *const c_char;
    let describe: unsafe extern "C" fn(rd::rd_kafka_resp_err_t) -> *const c_char =
        rd::rd_kafka_err2str;
    // SAFETY: the enum is `repr(i32)`, so both function types have one calling convention; the library's function takes
    // any integer and returns a string that lives until this thread calls it again.
    let words = unsafe {
        let describe: Text = std::mem::transmute(describe);
        text(describe(code))
    };
    Arc::from(reason::answer(&words))
}

/// The error of a list's element as words.
///
/// # Safety
/// `partition` points to a live element.
pub(super) unsafe fn partition_error(
    partition: *const rd::rd_kafka_topic_partition_t,
) -> Option<Arc<str>> {
    // SAFETY: the field is read as the integer that it is, without making an enum of it.
    let code = unsafe { ptr::addr_of!((*partition).err).cast::<c_int>().read() };
    (code != 0).then(|| code_text(code))
}

/// Topic names of one call's answers, each kept once: answers repeat a name for each of its partitions, and a thousand
/// groups repeat their topics.
#[derive(Default)]
pub(super) struct Names {
    known: HashSet<Arc<str>>,
    /// Neighbours are mostly of one topic.
    last: Option<Arc<str>>,
}

impl Names {
    fn of(&mut self, name: &CStr) -> Arc<str> {
        let name = name.to_string_lossy();
        if let Some(last) = self.last.as_ref().filter(|last| ***last == *name) {
            return Arc::clone(last);
        }
        let kept = self.known.get(&*name).cloned().unwrap_or_else(|| {
            let kept: Arc<str> = Arc::from(&*name);
            self.known.insert(Arc::clone(&kept));
            kept
        });
        self.last = Some(Arc::clone(&kept));
        kept
    }
}

/// # Safety
/// `partition` points to a live element.
pub(super) unsafe fn topic_partition(
    partition: *const rd::rd_kafka_topic_partition_t,
    names: &mut Names,
) -> TopicPartition {
    // SAFETY: as the caller promises; the name is null or a string that lives as long as its element.
    unsafe {
        let topic = (*partition).topic;
        TopicPartition {
            topic: if topic.is_null() {
                Arc::from("")
            } else {
                names.of(CStr::from_ptr(topic))
            },
            partition: (*partition).partition,
        }
    }
}

/// # Safety
/// `list` is null or points to a live list.
pub(super) unsafe fn elements<'a>(
    list: *const rd::rd_kafka_topic_partition_list_t,
) -> &'a [rd::rd_kafka_topic_partition_t] {
    if list.is_null() {
        return &[];
    }
    // SAFETY: as the caller promises; a list's count says how many elements it holds.
    unsafe { array((*list).elems, usize::try_from((*list).cnt).unwrap_or(0)) }
}

/// # Safety
/// `event` carries a ListConsumerGroupOffsets result.
pub(super) unsafe fn committed_offsets(event: &Event, names: &mut Names) -> Known<Committed> {
    // SAFETY: everything read belongs to the event, which the caller keeps alive.
    unsafe {
        let result = rd::rd_kafka_event_ListConsumerGroupOffsets_result(event.ptr());
        if result.is_null() {
            return Err(Arc::from("the answer holds no offsets"));
        }
        let mut count = 0;
        let groups = rd::rd_kafka_ListConsumerGroupOffsets_result_groups(result, &mut count);
        let mut offsets = Vec::new();
        for &group in array(groups, count) {
            let error = rd::rd_kafka_group_result_error(group);
            if !error.is_null() {
                return Err(Arc::from(error_text(error)));
            }
            let list = rd::rd_kafka_group_result_partitions(group);
            for element in elements(list) {
                let offset = match partition_error(element) {
                    Some(reason) => Err(reason),
                    // Negative is the library's "none".
                    None => Ok((element.offset >= 0).then_some(element.offset)),
                };
                offsets.push((topic_partition(element, names), offset));
            }
        }
        Ok(offsets.into_iter().collect())
    }
}

/// # Safety
/// `group` belongs to a live event.
pub(super) unsafe fn described_group(
    group: *const rd::rd_kafka_ConsumerGroupDescription_t,
    names: &mut Names,
) -> Known<DescribedGroup> {
    // SAFETY: everything read belongs to the caller's event; indices are below the count the library tells.
    unsafe {
        let error = rd::rd_kafka_ConsumerGroupDescription_error(group);
        if !error.is_null() {
            return Err(Arc::from(error_text(error)));
        }
        let state = rd::rd_kafka_ConsumerGroupDescription_state(group);
        let count = rd::rd_kafka_ConsumerGroupDescription_member_count(group);
        let members = (0..count)
            .map(|index| {
                let member = rd::rd_kafka_ConsumerGroupDescription_member(group, index);
                let assignment = rd::rd_kafka_MemberDescription_assignment(member);
                let assigned = if assignment.is_null() {
                    ptr::null()
                } else {
                    rd::rd_kafka_MemberAssignment_partitions(assignment)
                };
                GroupMember {
                    member_id: text(rd::rd_kafka_MemberDescription_consumer_id(member)),
                    client_id: text(rd::rd_kafka_MemberDescription_client_id(member)),
                    host: text(rd::rd_kafka_MemberDescription_host(member)),
                    assignment: elements(assigned)
                        .iter()
                        .map(|element| topic_partition(element, names))
                        .collect(),
                }
            })
            .collect();
        Ok(DescribedGroup {
            kind: kind(rd::rd_kafka_ConsumerGroupDescription_type(group)),
            state: text(rd::rd_kafka_consumer_group_state_name(state)),
            members,
        })
    }
}

/// # Safety
/// `resource` belongs to a live event.
pub(super) unsafe fn config_entries(
    resource: *const rd::rd_kafka_ConfigResource_t,
    keys: &[&str],
) -> HashMap<String, String> {
    // SAFETY: everything read belongs to the caller's event.
    unsafe {
        let mut count = 0;
        let entries = rd::rd_kafka_ConfigResource_configs(resource, &mut count);
        array(entries, count)
            .iter()
            .filter_map(|&entry| {
                let name = text(rd::rd_kafka_ConfigEntry_name(entry));
                keys.contains(&&*name).then(|| {
                    let value = text(rd::rd_kafka_ConfigEntry_value(entry));
                    (name.to_string(), value.to_string())
                })
            })
            .collect()
    }
}
