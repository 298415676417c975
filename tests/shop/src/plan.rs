//! What the shop consists of: topics, services, consumer groups. Everything else refers to these.
//!
//! ```text
//! storefront -> orders -> billing       -> payments --------------> notifications
//!                 |         \-> orders.billing.retry -> billing-retry -> payments
//!                 |         \-> orders.billing.dlt <-----/
//!                 |-> inventory -> stock.reserved -> shipping (batches, links) -> shipments -> notifications
//!                 |-> fraud
//!                 \-> orders-audit (sends no spans)
//! ```

/// What a topic is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Business messages.
    Business,
    /// Messages that wait to be tried again.
    Retry,
    /// Messages given up.
    DeadLetter,
}

/// A topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Topic {
    /// Its name, without the run's prefix.
    pub name: &'static str,
    /// How many partitions it has.
    pub partitions: i32,
    /// What it is for.
    pub role: Role,
}

/// A consumer group: the members of one service that share its topics.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Group {
    /// Its name, without the run's prefix.
    pub name: &'static str,
    /// The service its members belong to.
    pub service: &'static str,
    /// What it reads.
    pub topics: &'static [Topic],
    /// How many members it has.
    pub members: usize,
    /// False: its service sends no spans.
    pub instrumented: bool,
}

const fn business(name: &'static str, partitions: i32) -> Topic {
    Topic {
        name,
        partitions,
        role: Role::Business,
    }
}

/// Orders, as customers place them.
pub const ORDERS: Topic = business("orders", 6);
/// Charged orders.
pub const PAYMENTS: Topic = business("payments", 3);
/// Orders whose goods are set aside.
pub const STOCK_RESERVED: Topic = business("stock.reserved", 3);
/// Parcels on their way.
pub const SHIPMENTS: Topic = business("shipments", 3);
/// Orders that could not be charged, for one more attempt.
pub const BILLING_RETRY: Topic = Topic {
    name: "orders.billing.retry",
    partitions: 2,
    role: Role::Retry,
};
/// Orders that billing gave up.
pub const BILLING_DLT: Topic = Topic {
    name: "orders.billing.dlt",
    partitions: 2,
    role: Role::DeadLetter,
};

/// All topics.
pub const TOPICS: [Topic; 6] = [
    ORDERS,
    PAYMENTS,
    STOCK_RESERVED,
    SHIPMENTS,
    BILLING_RETRY,
    BILLING_DLT,
];

/// The service that customers talk to.
pub const STOREFRONT: &str = "storefront";

/// Charges orders.
pub const BILLING: Group = Group {
    name: "billing",
    service: "billing",
    topics: &[ORDERS],
    members: 2,
    instrumented: true,
};
/// Tries orders again that could not be charged.
pub const RETRY: Group = Group {
    name: "billing-retry",
    service: "billing",
    topics: &[BILLING_RETRY],
    members: 1,
    instrumented: true,
};
/// Sets goods aside.
pub const INVENTORY: Group = Group {
    name: "inventory",
    service: "inventory",
    topics: &[ORDERS],
    members: 2,
    instrumented: true,
};
/// Scores orders; produces nothing.
pub const FRAUD: Group = Group {
    name: "fraud",
    service: "fraud",
    topics: &[ORDERS],
    members: 1,
    instrumented: true,
};
/// Packs parcels in batches.
pub const SHIPPING: Group = Group {
    name: "shipping",
    service: "shipping",
    topics: &[STOCK_RESERVED],
    members: 1,
    instrumented: true,
};
/// Tells customers about charges and parcels.
pub const NOTIFICATIONS: Group = Group {
    name: "notifications",
    service: "notifications",
    topics: &[PAYMENTS, SHIPMENTS],
    members: 1,
    instrumented: true,
};
/// Keeps a copy of every order and sends no spans.
pub const AUDIT: Group = Group {
    name: "orders-audit",
    service: "orders-audit",
    topics: &[ORDERS],
    members: 1,
    instrumented: false,
};

/// All consumer groups.
pub const GROUPS: [Group; 7] = [
    BILLING,
    RETRY,
    INVENTORY,
    FRAUD,
    SHIPPING,
    NOTIFICATIONS,
    AUDIT,
];

/// Returns the names of all services.
pub fn services() -> Vec<&'static str> {
    let mut names = vec![STOREFRONT];
    for group in GROUPS {
        if !names.contains(&group.service) {
            names.push(group.service);
        }
    }
    names
}

/// Returns what a topic of this name, without the run's prefix, is for.
pub fn role(name: &str) -> Role {
    TOPICS
        .iter()
        .find(|topic| topic.name == name)
        .map_or(Role::Business, |topic| topic.role)
}
