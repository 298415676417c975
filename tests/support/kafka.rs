//! A real Apache Kafka on loopback: one broker that is its own controller.
//!
//! The jars come from Maven Central once, into `target/kafka/libs`; every start after that takes about four seconds.
//! Ports are free ones, data lives in a directory of its own, and the broker ends with its owner (see `guard`). Only
//! `std` is needed, because `xtask` includes this file too.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::guard::Guarded;

/// The version under test.
pub const KAFKA_VERSION: &str = "4.1.0";

/// Apache Kafka's own command line tools, as `Kafka::tool` takes them.
pub mod tools {
    /// Topics: create, list, describe.
    pub const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
    /// Consumer groups: the oracle for lag.
    pub const GROUPS: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
    /// Log ends (`--time -1`) and starts (`--time -2`).
    pub const OFFSETS: &str = "org.apache.kafka.tools.GetOffsetShell";
    /// Records from stdin.
    pub const PRODUCER: &str = "org.apache.kafka.tools.ConsoleProducer";
    /// Rights: allow, deny, list.
    pub const ACLS: &str = "org.apache.kafka.tools.AclCommand";
    /// Records to stdout.
    pub const CONSUMER: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";
}

/// What went wrong, in words.
#[derive(Debug)]
pub struct KafkaError(String);

impl fmt::Display for KafkaError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for KafkaError {}

fn failed(what: impl fmt::Display) -> impl FnOnce(io::Error) -> KafkaError {
    move |error| KafkaError(format!("{what}: {error}"))
}

/// A second door of a broker: who comes there logs in, and may do what no ACL denies.
#[derive(Clone, Debug)]
struct Door {
    port: u16,
    user: String,
    password: String,
}

/// A broker, running or stopped.
#[derive(Debug)]
pub struct Kafka {
    /// Holds `server.properties`, `broker.log` and the data.
    directory: PathBuf,
    port: u16,
    libs: PathBuf,
    broker: Option<Guarded>,
    /// Memory of the broker, where half a GiB is not enough.
    heap_mib: Option<u32>,
    /// The directory was made for this broker and goes with it.
    temporary: bool,
    door: Option<Door>,
}

impl Kafka {
    /// Starts a broker with data of its own in a new directory below `target/kafka`, removed with it.
    ///
    /// Takes about four seconds once the jars are there.
    ///
    /// # Errors
    ///
    /// When Java or Maven is missing (the text names the command that installs them), or the broker does not come up;
    /// the text then holds the end of its log.
    pub fn start() -> Result<Kafka, KafkaError> {
        Kafka::start_temporary(None, None)
    }

    /// As [`Kafka::start`], with so much memory: a broker of ten thousand partitions needs some GiB.
    ///
    /// # Errors
    ///
    /// As [`Kafka::start`].
    pub fn start_with_heap(heap_mib: u32) -> Result<Kafka, KafkaError> {
        Kafka::start_temporary(Some(heap_mib), None)
    }

    /// As [`Kafka::start`], with rights: at [`Kafka::login_bootstrap`], `user` logs in (SASL/PLAIN) and may do what no ACL
    /// denies. Who comes to [`Kafka::bootstrap`] needs no login and may do everything.
    ///
    /// # Errors
    ///
    /// As [`Kafka::start`].
    pub fn start_with_login(user: &str, password: &str) -> Result<Kafka, KafkaError> {
        let door = Door {
            port: free_port()?,
            user: user.to_owned(),
            password: password.to_owned(),
        };
        Kafka::start_temporary(None, Some(door))
    }

    fn start_temporary(heap_mib: Option<u32>, door: Option<Door>) -> Result<Kafka, KafkaError> {
        let unique = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |age| age.as_nanos());
        let directory = home().join(format!("run-{}-{unique}", std::process::id()));
        let mut kafka = Kafka::start_sized(&directory, None, heap_mib, door)?;
        kafka.temporary = true;
        Ok(kafka)
    }

    /// Starts a broker whose data stays in `directory`; on `port`, or any free one.
    ///
    /// # Errors
    ///
    /// As [`Kafka::start`].
    pub fn start_in(directory: &Path, port: Option<u16>) -> Result<Kafka, KafkaError> {
        Kafka::start_sized(directory, port, None, None)
    }

    fn start_sized(
        directory: &Path,
        port: Option<u16>,
        heap_mib: Option<u32>,
        door: Option<Door>,
    ) -> Result<Kafka, KafkaError> {
        let libs = jars()?;
        // Another process can take a port between our look and the broker's bind: look again then.
        let mut last = None;
        for _ in 0..3 {
            let (port, controller_port) = match port {
                Some(port) => (port, free_port()?),
                None => (free_port()?, free_port()?),
            };
            let mut kafka = Kafka {
                directory: directory.to_owned(),
                port,
                libs: libs.clone(),
                broker: None,
                heap_mib,
                temporary: false,
                door: door.clone(),
            };
            kafka.format(controller_port)?;
            match kafka.start_again() {
                Ok(()) => return Ok(kafka),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| KafkaError("no attempt was made to start Kafka".to_owned())))
    }

    /// Returns `127.0.0.1:PORT`.
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Returns `127.0.0.1:PORT` where one logs in; `None` of a broker without logins.
    pub fn login_bootstrap(&self) -> Option<String> {
        let door = self.door.as_ref()?;
        Some(format!("127.0.0.1:{}", door.port))
    }

    /// Returns where the broker keeps its partitions, a folder each.
    pub fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// Returns where the broker's log is.
    pub fn log(&self) -> PathBuf {
        self.directory.join("broker.log")
    }

    /// Returns the broker's process id; `None` while it is stopped.
    pub fn id(&self) -> Option<u32> {
        self.broker.as_ref().map(Guarded::id)
    }

    /// Runs one of Apache Kafka's own tools ([`tools`]) and returns what it prints.
    ///
    /// `--bootstrap-server` is added. Costs a Java start, about a second.
    ///
    /// # Errors
    ///
    /// When the tool fails; the text holds all that it printed.
    pub fn tool(&self, class: &str, arguments: &[&str]) -> Result<String, KafkaError> {
        tool(&self.bootstrap(), class, arguments)
    }

    /// Stops the broker in its own time, twenty seconds at most. Ports and data are kept for [`Kafka::start_again`].
    ///
    /// # Errors
    ///
    /// When the operating system cannot say how it ended.
    pub fn stop(&mut self) -> Result<(), KafkaError> {
        if let Some(mut broker) = self.broker.take() {
            broker
                .stop(Duration::from_secs(20))
                .map_err(failed("cannot stop Kafka"))?;
        }
        Ok(())
    }

    /// Ends the broker at once, as `kill -9` does. Ports and data are kept for [`Kafka::start_again`].
    ///
    /// # Errors
    ///
    /// When the operating system refuses.
    pub fn kill(&mut self) -> Result<(), KafkaError> {
        if let Some(mut broker) = self.broker.take() {
            broker.kill().map_err(failed("cannot kill Kafka"))?;
        }
        Ok(())
    }

    /// Starts the stopped broker on the same ports and data.
    ///
    /// # Errors
    ///
    /// When it does not answer within a minute; the text holds the end of its log.
    pub fn start_again(&mut self) -> Result<(), KafkaError> {
        let log = self.log();
        let open = || {
            File::options()
                .create(true)
                .append(true)
                .open(&log)
                .map_err(failed(format!("cannot open {}", log.display())))
        };
        let (out, err) = (open()?, open()?);
        let mut broker = Guarded::start(&server(&self.libs, &self.directory), |command| {
            command.stdout(out).stderr(err);
            if let Some(heap) = self.heap_mib {
                // Counts more than what stands on the command line.
                command.env("_JAVA_OPTIONS", format!("-Xmx{heap}m"));
            }
        })
        .map_err(failed("cannot start Kafka"))?;

        let deadline = Instant::now() + Duration::from_secs(60);
        while !answers(self.port) {
            let ended = broker
                .exited()
                .map_err(failed("cannot look after Kafka"))?
                .map(|status| format!("Kafka ended with {status}"));
            let late = (Instant::now() > deadline)
                .then(|| format!("Kafka did not answer on port {} within 60 s", self.port));
            if let Some(why) = ended.or(late) {
                return Err(KafkaError(format!("{why}; {}", tail(&log))));
            }
            thread::sleep(Duration::from_millis(50));
        }
        self.broker = Some(broker);
        Ok(())
    }

    /// Lets the broker go on after this value and this process; returns its process id, or `None` if it has ended.
    pub fn leave_running(mut self) -> Option<u32> {
        self.temporary = false;
        self.broker.take()?.release()
    }

    /// Writes the settings, and formats the data directory where it is new.
    fn format(&self, controller_port: u16) -> Result<(), KafkaError> {
        let data = self.data();
        fs::create_dir_all(&self.directory).map_err(failed(self.directory.display()))?;
        let settings = self.directory.join("server.properties");
        let mut text = properties(self.port, controller_port, &data);
        if let Some(door) = &self.door {
            text.push_str(&login_properties(self.port, controller_port, door));
        }
        fs::write(&settings, text).map_err(failed(settings.display()))?;
        if data.join("meta.properties").exists() {
            return Ok(());
        }
        run(java(&self.libs)
            .arg("kafka.tools.StorageTool")
            // Any 16 bytes in URL-safe base 64; a broker of its own needs no more than one.
            .args(["format", "-t", "aGlnaHdhdGVyLXRlc3QtMQ", "-c"])
            .arg(&settings))?;
        Ok(())
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        drop(self.broker.take());
        if self.temporary {
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}

/// Returns the one broker of this test run, started at the first call; it ends with the process.
///
/// Tests share it and take topics and groups of their own. A test that stops a broker starts one for itself.
///
/// # Panics
///
/// When it cannot be started: a test cannot go on without it.
pub fn shared() -> &'static Kafka {
    static SHARED: OnceLock<Kafka> = OnceLock::new();
    // Panics in `get_or_init` leave the cell empty, so each test would wait for its own failure: remember the first.
    static FAILED: Mutex<Option<String>> = Mutex::new(None);
    SHARED.get_or_init(|| {
        let mut failed = FAILED
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(error) = &*failed {
            panic!("{error}");
        }
        // Nothing is dropped when a test process ends, so its data cannot be in a directory that `Drop` removes.
        let directory = home().join("shared");
        sweep(&directory);
        match Kafka::start_in(&directory.join(std::process::id().to_string()), None) {
            Ok(kafka) => kafka,
            Err(error) => {
                *failed = Some(error.to_string());
                panic!("{error}");
            }
        }
    })
}

/// Removes what test processes that have ended left in `directory`, one folder a process id.
fn sweep(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let alive = Path::new("/proc").join(entry.file_name()).exists();
        if !alive {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Runs one of Apache Kafka's own tools against the broker at `bootstrap` and returns what it prints.
///
/// # Errors
///
/// When the tool fails; the text holds all that it printed.
pub fn tool(bootstrap: &str, class: &str, arguments: &[&str]) -> Result<String, KafkaError> {
    let libs = jars()?;
    run(java(&libs)
        .arg(class)
        .args(["--bootstrap-server", bootstrap])
        .args(arguments))
}

/// Returns the folder of Kafka's jars; brings them from Maven Central the first time (93 files, 54 MB).
///
/// # Errors
///
/// When Java or Maven is missing: the text names the command that installs them.
pub fn jars() -> Result<PathBuf, KafkaError> {
    let home = home();
    let libs = home.join("libs").join(KAFKA_VERSION);
    if libs.is_dir() {
        return Ok(libs);
    }
    fs::create_dir_all(&home).map_err(failed(home.display()))?;
    // Test binaries run side by side: one brings the jars, the others wait for it.
    let lock = File::create(home.join("lock")).map_err(failed("cannot create a lock file"))?;
    lock.lock().map_err(failed("cannot lock target/kafka"))?;
    if libs.is_dir() {
        return Ok(libs);
    }
    for (program, argument) in [("java", "-version"), ("mvn", "-version")] {
        let there = Command::new(program)
            .arg(argument)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if !matches!(there, Ok(status) if status.success()) {
            return Err(KafkaError(format!(
                "`{program}` is missing; on Debian: apt-get install -y openjdk-17-jre-headless maven"
            )));
        }
    }
    let partial = home.join(format!("partial-{}", std::process::id()));
    fs::create_dir_all(&partial).map_err(failed(partial.display()))?;
    let pom = partial.join("pom.xml");
    fs::write(&pom, pom_xml()).map_err(failed(pom.display()))?;
    run(Command::new("mvn")
        .args(["-q", "-B", "-f"])
        .arg(&pom)
        .arg("dependency:copy-dependencies")
        .arg(format!(
            "-DoutputDirectory={}",
            partial.join("libs").display()
        )))?;
    fs::create_dir_all(home.join("libs")).map_err(failed(libs.display()))?;
    // A rename is whole or not at all: a run cut short leaves no half folder behind that looks complete.
    fs::rename(partial.join("libs"), &libs).map_err(failed(libs.display()))?;
    let _ = fs::remove_dir_all(&partial);
    Ok(libs)
}

/// Returns `target/kafka` of the workspace.
pub fn home() -> PathBuf {
    let crate_directory = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_directory
        .ancestors()
        .find(|directory| directory.join("Cargo.lock").is_file())
        .unwrap_or(crate_directory)
        .join("target/kafka")
}

/// Returns the command that runs the broker of `directory` with the jars of `libs`.
pub fn server(libs: &Path, directory: &Path) -> Command {
    let mut command = java(libs);
    command
        .arg("kafka.Kafka")
        .arg(directory.join("server.properties"));
    command
}

fn java(libs: &Path) -> Command {
    let mut command = Command::new("java");
    command
        // Short-lived and small: the quick compiler and the serial collector start sooner and use one core.
        .args([
            "-Xmx512m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-Xshare:auto",
        ])
        .arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")
        .arg("-cp")
        .arg(format!("{}/*", libs.display()));
    command
}

fn run(command: &mut Command) -> Result<String, KafkaError> {
    let line = format!("{command:?}");
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(failed(format!("cannot run {line}")))?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(stdout);
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(KafkaError(format!(
        "{line} ended with {}\n{stdout}{stderr}",
        output.status
    )))
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let last = lines[lines.len().saturating_sub(20)..].join("\n");
    format!("the end of {}:\n{last}", log.display())
}

/// Returns a port that nothing listens on, below the range that the operating system gives to outgoing connections.
///
/// A client that dials a stopped broker on a port of that range can be given this very port for itself and so connect
/// to itself; the broker could then not come back.
fn free_port() -> Result<u16, KafkaError> {
    static NEXT: Mutex<Option<u16>> = Mutex::new(None);
    const FIRST: u16 = 15_000;
    const COUNT: u16 = 15_000;
    let mut next = NEXT
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    // Processes of one run begin their search apart from each other.
    let mut offset =
        next.unwrap_or((std::process::id().wrapping_mul(97) % u32::from(COUNT)) as u16);
    for _ in 0..COUNT {
        offset = (offset + 1) % COUNT;
        let port = FIRST + offset;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            *next = Some(offset);
            return Ok(port);
        }
    }
    Err(KafkaError(
        "no free port between 15000 and 30000".to_owned(),
    ))
}

/// Says whether the broker answers Kafka's first question, which versions it speaks; it does so once it is ready.
pub fn answers(port: u16) -> bool {
    let ask = || -> io::Result<()> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        // length 10, ApiVersions (18) version 0, correlation id 7, client id null.
        stream.write_all(&[0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 7, 0xff, 0xff])?;
        let mut head = [0; 10];
        stream.read_exact(&mut head)?;
        // length, correlation id, error code.
        if head[4..] == [0, 0, 0, 7, 0, 0] {
            Ok(())
        } else {
            Err(io::Error::other("not an answer"))
        }
    };
    ask().is_ok()
}

fn properties(port: u16, controller_port: u16, data: &Path) -> String {
    format!(
        "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={data}
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=4
group.initial.rebalance.delay.ms=0
",
        data = data.display()
    )
}

/// What a door adds to the settings, and overrides: the last line of a name counts.
fn login_properties(port: u16, controller_port: u16, door: &Door) -> String {
    let Door {
        port: login_port,
        user,
        password,
    } = door;
    format!(
        "listeners=PLAINTEXT://127.0.0.1:{port},LOGIN://127.0.0.1:{login_port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},LOGIN://127.0.0.1:{login_port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,LOGIN:SASL_PLAINTEXT
sasl.enabled.mechanisms=PLAIN
listener.name.login.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_{user}=\"{password}\";
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
allow.everyone.if.no.acl.found=true
"
    )
}

fn pom_xml() -> String {
    let dependency = |group: &str, artifact: &str, version: &str| {
        format!(
            "<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>\
             <version>{version}</version></dependency>"
        )
    };
    format!(
        "<project><modelVersion>4.0.0</modelVersion><groupId>highwater</groupId><artifactId>kafka</artifactId>\
         <version>1</version><dependencies>{}{}{}</dependencies></project>",
        dependency("org.apache.kafka", "kafka_2.13", KAFKA_VERSION),
        dependency("org.apache.kafka", "kafka-tools", KAFKA_VERSION),
        dependency("org.slf4j", "slf4j-simple", "1.7.36"),
    )
}
