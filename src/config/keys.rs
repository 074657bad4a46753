//! Every key Fluent Bit 5.1 knows, declared once: name, type, default, what it does, and where we
//! stand on it.
//!
//! In:  (nothing: tables)
//! Out: [`Group`]s of [`Key`]s, which parsing, `check`, the "did you mean" and the documentation
//!      read

use crate::tail::Encoding;

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// As documented; case does not matter. A `*` at the end stands for any rest.
    pub name: &'static str,
    /// How its value is read.
    pub kind: Kind,
    /// Our default as text. Empty: none.
    pub default: &'static str,
    /// What it does, in one line.
    pub doc: &'static str,
    /// Whether it may be written more than once.
    pub repeatable: bool,
    /// Whether we obey it.
    pub standing: Standing,
}

/// How a value is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// One of these words, in any case.
    Choice(&'static [&'static str]),
    /// Texts between commas.
    List,
    /// Words between blanks; double quotes keep blanks together.
    Words,
    /// `true`, `on`, `yes`, `false`, `off`, `no`.
    Boolean,
    /// Bytes: `5MB` is 5,000,000.
    Size,
    /// Bytes in binary units: `2M` is 2,097,152.
    BinarySize,
    /// Whole seconds with an optional `s`, `m`, `h` or `d`.
    Time,
    /// Seconds, and behind a dot whole nanoseconds.
    SecondsAndNanos,
    /// Seconds with a fraction.
    Seconds,
    /// A time of ours: seconds with a fraction, or a unit, `ms` included.
    OwnTime,
    /// A whole number.
    Integer,
    /// A number with a fraction.
    Number,
    /// A regular expression.
    Regex,
    /// A count, `no_limits` or `no_retries`.
    Retries,
}

/// Where we stand on a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It does what it does in Fluent Bit.
    Obeyed,
    /// Accepted, and not needed for the reason given.
    Note(&'static str),
    /// It would change the data and we do not do it. Stops the start, unless the value is one of
    /// those that change nothing.
    Unsupported {
        /// Values (in any case) that ask for nothing. For a boolean: the one that changes nothing.
        harmless: &'static [&'static str],
        /// What to do about it.
        instead: &'static str,
    },
}

/// Keys that belong together.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// Whose keys they are.
    pub title: &'static str,
    /// Who checks them in Fluent Bit.
    pub scope: Scope,
    /// In the order of the documentation.
    pub keys: &'static [Key],
}

/// Who checks a key in Fluent Bit 5.1: the engine is lenient, plugins are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// `[SERVICE]` and `[PARSER]`: what is unknown is ignored.
    Section,
    /// Keys that every plugin of a kind has: a boolean it cannot read is off.
    Core,
    /// A plugin's own: what is wrong or written twice is refused.
    Plugin,
}

impl Group {
    /// Every group, for the documentation.
    pub const ALL: [&'static Self; 15] = [
        &SERVICE,
        &PARSER,
        &MULTILINE_PARSER,
        &INPUT,
        &FILTER,
        &OUTPUT,
        &NETWORK,
        &TAIL,
        &LISTEN,
        &TLS_LISTEN,
        &RECORD_MODIFIER,
        &FORWARD,
        &TLS,
        &UPSTREAM,
        &NODE,
    ];

    /// The key called `name` (in lower case).
    pub fn find(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.is_called(name))
    }
}

impl Key {
    /// Whether `name`, in any case, is this key.
    pub fn is_called(&self, name: &str) -> bool {
        match self.name.strip_suffix('*') {
            Some(start) => {
                name.get(..start.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(start))
            }
            None => self.name.eq_ignore_ascii_case(name),
        }
    }

    const fn repeatable(self) -> Self {
        Self { repeatable: true, ..self }
    }
}

const fn obeyed(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
    Key { name, kind, default, doc, repeatable: false, standing: Standing::Obeyed }
}

const fn noted(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    doc: &'static str,
    why: &'static str,
) -> Key {
    Key { name, kind, default, doc, repeatable: false, standing: Standing::Note(why) }
}

const fn unsupported(
    name: &'static str,
    kind: Kind,
    harmless: &'static [&'static str],
    doc: &'static str,
    instead: &'static str,
) -> Key {
    let standing = Standing::Unsupported { harmless, instead };
    Key { name, kind, default: "", doc, repeatable: false, standing }
}

const LOG_LEVELS: Kind =
    Kind::Choice(&["off", "error", "warn", "warning", "info", "debug", "trace"]);
const OFF: &[&str] = &["off", "false", "no"];
const ON: &[&str] = &["on", "true", "yes"];

// The reasons that several keys share.
const FILES_ARE_THE_BUFFER: &str = "the log files themselves are the buffer";
const NO_SERVER: &str = "not served by this version";
const NO_RELOAD: &str = "not done by this version; restart the container";
const ONE_LEVEL: &str = "[SERVICE] Log_Level holds for everything";
const ONE_THREAD: &str = "one thread reads and one sends, so the order is kept";
const PACED: &str = "chunks leave by size, by age and at the end of a burst";
const PREFER_IPV4: &str =
    "IPv6 addresses stand by; without it, those of the family that the system does not name first";
const PREFER_IPV6: &str = "IPv4 addresses stand by";
const SYSTEM_RESOLVER: &str = "names are looked up as the system does it";
const MEMORY_PACES: &str = "reading is paced by memory alone";
const POSITIONS_ARE_SAFE: &str = "positions are kept in a file of our own, synced before it counts";
const ONE_LISTENER: &str = "one socket takes as many connections as memory allows";
const OWN_PATIENCE: &str =
    "a frame that was begun must arrive within 10 s; an idle client may stay";
const ONLY_CLIENTS: &str = "an input asks for no server";
const NO_DECODERS: &str = "choose a parser without it, or decode in Fluentd";

/// `[SERVICE]`.
pub const SERVICE: Group = Group {
    title: "[SERVICE]",
    scope: Scope::Section,
    keys: &[
        obeyed("Flush", Kind::Seconds, "1", "how old the oldest event of an open chunk may become"),
        obeyed("Grace", Kind::Time, "25", "how long a stop may take; -1 is as long as it needs"),
        obeyed(
            "Drain_Quiet",
            Kind::OwnTime,
            "2s",
            "how long files must be quiet before a stop ends the reading (ours)",
        ),
        obeyed(
            "Exit_When",
            Kind::Text,
            "",
            "a file whose appearance begins a stop, for Jobs (ours)",
        ),
        noted(
            "Daemon",
            Kind::Boolean,
            "off",
            "goes to the background",
            "it stays in the foreground, as containers need it",
        ),
        obeyed("Log_Level", LOG_LEVELS, "info", "what our own log says; FLB_LOG_LEVEL wins"),
        obeyed("Log_File", Kind::Text, "", "where our own log goes instead of stderr"),
        obeyed("Parsers_File", Kind::Text, "", "a file of [PARSER] sections").repeatable(),
        noted(
            "Plugins_File",
            Kind::Text,
            "",
            "shared libraries to load",
            "no plugin is loaded from files",
        )
        .repeatable(),
        unsupported(
            "Streams_File",
            Kind::Text,
            &[],
            "stream processor tasks",
            "take it out and compute in Fluentd",
        )
        .repeatable(),
        noted(
            "sp.convert_from_str_to_num",
            Kind::Boolean,
            "on",
            "stream processor",
            "there is no stream processor",
        ),
        noted(
            "Coro_Stack_Size",
            Kind::Integer,
            "",
            "bytes of a coroutine's stack",
            "there are no coroutines",
        ),
        obeyed(
            "multiline_buffer_limit",
            Kind::BinarySize,
            "2M",
            "how long a message of joined lines becomes before it is divided",
        ),
        noted(
            "json.convert_nan_to_null",
            Kind::Boolean,
            "off",
            "how JSON is printed",
            "no output prints JSON",
        ),
        noted(
            "json.escape_unicode",
            Kind::Boolean,
            "on",
            "how JSON is printed",
            "no output prints JSON",
        ),
        noted("Enable_Chunk_Trace", Kind::Boolean, "off", "tracing interface", NO_SERVER),
        unsupported(
            "security.fips_mode",
            Kind::Boolean,
            OFF,
            "requires OpenSSL in FIPS mode",
            "set it to off: there is no OpenSSL here",
        ),
        noted("flush.adaptive", Kind::Boolean, "off", "flushes at a varying pace", PACED),
        noted(
            "flush.adaptive.min_interval",
            Kind::Number,
            "0.5",
            "flushes at a varying pace",
            PACED,
        ),
        noted(
            "flush.adaptive.max_interval",
            Kind::Number,
            "2.0",
            "flushes at a varying pace",
            PACED,
        ),
        noted(
            "flush.adaptive.low_pressure",
            Kind::Number,
            "25",
            "flushes at a varying pace",
            PACED,
        ),
        noted(
            "flush.adaptive.medium_pressure",
            Kind::Number,
            "50",
            "flushes at a varying pace",
            PACED,
        ),
        noted(
            "flush.adaptive.high_pressure",
            Kind::Number,
            "75",
            "flushes at a varying pace",
            PACED,
        ),
        noted("flush.adaptive.up_steps", Kind::Integer, "2", "flushes at a varying pace", PACED),
        noted("flush.adaptive.down_steps", Kind::Integer, "3", "flushes at a varying pace", PACED),
        obeyed("HTTP_Server", Kind::Boolean, "off", "metrics and health over HTTP"),
        obeyed("HTTP_Listen", Kind::Text, "0.0.0.0", "its address"),
        obeyed("HTTP_Port", Kind::Integer, "2020", "its port"),
        obeyed("Health_Check", Kind::Boolean, "off", "serves /api/v1/health"),
        obeyed(
            "HC_Errors_Count",
            Kind::Integer,
            "5",
            "errors of outputs that are still healthy (forward has none, as in Fluent Bit)",
        ),
        obeyed(
            "HC_Retry_Failure_Count",
            Kind::Integer,
            "5",
            "given-up chunks that are still healthy",
        ),
        obeyed("HC_Period", Kind::Integer, "60", "the seconds they are counted over"),
        noted(
            "Hot_Reload",
            Kind::Boolean,
            "off",
            "reads the configuration again on SIGHUP",
            NO_RELOAD,
        ),
        noted("Hot_Reload.Ensure_Thread_Safety", Kind::Boolean, "on", "how it reloads", NO_RELOAD),
        noted("Hot_Reload.Timeout", Kind::Integer, "0", "how long a reload may take", NO_RELOAD),
        noted("dns.mode", Kind::Text, "", "UDP or TCP", SYSTEM_RESOLVER),
        noted("dns.resolver", Kind::Text, "", "LEGACY or ASYNC", SYSTEM_RESOLVER),
        obeyed("dns.prefer_ipv4", Kind::Boolean, "off", PREFER_IPV4),
        obeyed("dns.prefer_ipv6", Kind::Boolean, "off", PREFER_IPV6),
        obeyed(
            "scheduler.base",
            Kind::Integer,
            "",
            "the longest first wait before a chunk goes again, in seconds",
        ),
        obeyed(
            "scheduler.cap",
            Kind::Integer,
            "",
            "the longest wait before a chunk goes again, in seconds",
        ),
        noted("storage.path", Kind::Text, "", "a folder for chunks", FILES_ARE_THE_BUFFER),
        noted(
            "storage.sync",
            Kind::Choice(&["normal", "full"]),
            "normal",
            "how chunks are written",
            FILES_ARE_THE_BUFFER,
        ),
        noted(
            "storage.checksum",
            Kind::Boolean,
            "off",
            "checksums of stored chunks",
            FILES_ARE_THE_BUFFER,
        ),
        noted(
            "storage.metrics",
            Kind::Boolean,
            "on",
            "figures about stored chunks",
            FILES_ARE_THE_BUFFER,
        ),
        noted(
            "storage.max_chunks_up",
            Kind::Integer,
            "128",
            "chunks held in memory",
            FILES_ARE_THE_BUFFER,
        ),
        noted(
            "storage.backlog.mem_limit",
            Kind::Text,
            "100M",
            "memory for stored chunks",
            FILES_ARE_THE_BUFFER,
        ),
        noted(
            "storage.backlog.flush_on_shutdown",
            Kind::Boolean,
            "off",
            "sends stored chunks while stopping",
            FILES_ARE_THE_BUFFER,
        ),
        noted(
            "storage.delete_irrecoverable_chunks",
            Kind::Boolean,
            "off",
            "deletes damaged chunks",
            FILES_ARE_THE_BUFFER,
        ),
        noted(
            "storage.trim_files",
            Kind::Boolean,
            "off",
            "shortens stored chunks",
            FILES_ARE_THE_BUFFER,
        ),
        noted("storage.type", Kind::Text, "", "where inputs keep chunks", FILES_ARE_THE_BUFFER),
        noted(
            "storage.inherit",
            Kind::Boolean,
            "off",
            "makes it hold for all inputs",
            FILES_ARE_THE_BUFFER,
        ),
        noted(
            "storage.keep.rejected",
            Kind::Boolean,
            "off",
            "keeps given-up chunks",
            FILES_ARE_THE_BUFFER,
        ),
        noted(
            "storage.rejected.path",
            Kind::Text,
            "rejected",
            "where they are kept",
            FILES_ARE_THE_BUFFER,
        ),
        noted(
            "storage.rejected.limit",
            Kind::Text,
            "",
            "how many bytes of them",
            FILES_ARE_THE_BUFFER,
        ),
    ],
};

/// `[PARSER]`.
pub const PARSER: Group = Group {
    title: "[PARSER]",
    scope: Scope::Section,
    keys: &[
        obeyed("Name", Kind::Text, "", "what inputs call it; case matters"),
        obeyed("Format", Kind::Text, "", "json, regex, logfmt or ltsv"),
        obeyed("Regex", Kind::Text, "", "the pattern of format regex, with named groups"),
        obeyed("Time_Key", Kind::Text, "time", "the key that holds the time"),
        obeyed(
            "Time_Format",
            Kind::Text,
            "",
            "how the time is written; without it the key is only a key",
        ),
        obeyed("Time_Keep", Kind::Boolean, "off", "keeps the time key in the record"),
        obeyed(
            "Time_Offset",
            Kind::Text,
            "",
            "the zone of times without one: +HHMM, -HHMM, +HH:MM or Z",
        ),
        unsupported(
            "Time_System_Timezone",
            Kind::Boolean,
            OFF,
            "reads times without a zone in the system's",
            "write Time_Offset",
        ),
        unsupported(
            "Time_Zone",
            Kind::Text,
            &["UTC", "Etc/UTC"],
            "the named zone of times without one",
            "write Time_Offset",
        ),
        obeyed(
            "Time_Strict",
            Kind::Boolean,
            "on",
            "off takes the time key out even if it cannot be read",
        ),
        obeyed("Types", Kind::Words, "", "key:type pairs; integer, float, bool, hex or string"),
        obeyed(
            "Skip_Empty_Values",
            Kind::Boolean,
            "on",
            "groups that captured nothing make no key",
        ),
        obeyed(
            "Logfmt_No_Bare_Keys",
            Kind::Boolean,
            "off",
            "a key without '=' makes the line unparsed",
        ),
        unsupported(
            "Decode_Field",
            Kind::Text,
            &[],
            "decodes a value and adds what it holds",
            NO_DECODERS,
        )
        .repeatable(),
        unsupported("Decode_Field_As", Kind::Text, &[], "decodes a value in place", NO_DECODERS)
            .repeatable(),
    ],
};

/// `[MULTILINE_PARSER]`.
pub const MULTILINE_PARSER: Group = Group {
    title: "[MULTILINE_PARSER]",
    scope: Scope::Section,
    keys: &[
        obeyed("Name", Kind::Text, "", "what multiline.parser calls it, in any case"),
        obeyed("Type", Kind::Text, "", "regex, endswith or equal"),
        obeyed(
            "Rule",
            Kind::Text,
            "",
            "type regex: states (with commas), pattern, next state (without: the message ends)",
        )
        .repeatable(),
        obeyed("Match_String", Kind::Text, "", "the text that completes a message"),
        obeyed("Negate", Kind::Boolean, "off", "what is not that text completes it"),
        obeyed("Flush_Timeout", Kind::Integer, "4000", "milliseconds after which it is complete"),
        obeyed("Parser", Kind::Text, "", "a [PARSER] that makes a record of each line first"),
        obeyed("Key_Content", Kind::Text, "", "the key of what is joined; log for text"),
        obeyed("Key_Pattern", Kind::Text, "", "the key of what Match_String is compared with"),
        obeyed("Key_Group", Kind::Text, "", "lines with different values of it are joined apart"),
    ],
};

/// What every `[INPUT]` has.
pub const INPUT: Group = Group {
    title: "every [INPUT]",
    scope: Scope::Core,
    keys: &[
        obeyed("Name", Kind::Text, "", "the plugin"),
        obeyed("Alias", Kind::Text, "<plugin>.<n>", "what logs and metrics call it"),
        noted("Log_Level", LOG_LEVELS, "", "a log level of its own", ONE_LEVEL),
        noted(
            "Log_Suppress_Interval",
            Kind::Time,
            "",
            "logs repeated messages once",
            "repeated messages are counted once a minute",
        ),
        obeyed(
            "Tag",
            Kind::Text,
            "<plugin>.<n>",
            "what routes its events; '*' is the path of the file",
        ),
        unsupported(
            "Routable",
            Kind::Boolean,
            ON,
            "off throws everything away after the filters",
            "take it out",
        ),
        obeyed("Mem_Buf_Limit", Kind::Size, "16MB", "what its chunks may take until acknowledged"),
        noted(
            "storage.type",
            Kind::Choice(&["memory", "filesystem", "memrb"]),
            "memory",
            "where chunks are kept",
            FILES_ARE_THE_BUFFER,
        ),
        noted(
            "storage.pause_on_chunks_overlimit",
            Kind::Boolean,
            "off",
            "pauses when too many chunks wait",
            FILES_ARE_THE_BUFFER,
        ),
        noted("Threaded", Kind::Boolean, "off", "a thread of its own", ONE_THREAD),
        noted(
            "thread.ring_buffer.capacity",
            Kind::Integer,
            "1024",
            "the queue of that thread",
            ONE_THREAD,
        ),
        noted(
            "thread.ring_buffer.window",
            Kind::Integer,
            "5",
            "the queue of that thread",
            ONE_THREAD,
        ),
        noted("rate_window", Kind::Text, "", "limits the rate", MEMORY_PACES),
        noted("rate_gate", Kind::Boolean, "off", "limits the rate", MEMORY_PACES),
        noted("rate_gate.max_bytes", Kind::Text, "0", "limits the rate", MEMORY_PACES),
        noted("rate_gate.max_records", Kind::Text, "0", "limits the rate", MEMORY_PACES),
        noted("rate_gate.backpressure", Kind::Boolean, "on", "limits the rate", MEMORY_PACES),
        noted("rate_gate.resume_ratio", Kind::Number, "0.80", "limits the rate", MEMORY_PACES),
    ],
};

/// What every `[FILTER]` has.
pub const FILTER: Group = Group {
    title: "every [FILTER]",
    scope: Scope::Core,
    keys: &[
        obeyed("Name", Kind::Text, "", "the plugin"),
        obeyed("Alias", Kind::Text, "<plugin>.<n>", "what logs and metrics call it"),
        noted("Log_Level", LOG_LEVELS, "", "a log level of its own", ONE_LEVEL),
        noted(
            "Log_Suppress_Interval",
            Kind::Time,
            "",
            "logs repeated messages once",
            "repeated messages are counted once a minute",
        ),
        obeyed("Match", Kind::Text, "", "the tags it takes; '*' is any run of characters"),
        obeyed("Match_Regex", Kind::Regex, "", "tags that begin with a match are taken as well"),
        obeyed("Active", Kind::Text, "true", "false or 0 leaves the filter out"),
    ],
};

/// What every `[OUTPUT]` has.
pub const OUTPUT: Group = Group {
    title: "every [OUTPUT]",
    scope: Scope::Core,
    keys: &[
        obeyed("Name", Kind::Text, "", "the plugin"),
        obeyed("Alias", Kind::Text, "<plugin>.<n>", "what logs and metrics call it"),
        noted("Log_Level", LOG_LEVELS, "", "a log level of its own", ONE_LEVEL),
        noted(
            "Log_Suppress_Interval",
            Kind::Time,
            "",
            "logs repeated messages once",
            "repeated messages are counted once a minute",
        ),
        obeyed("Match", Kind::Text, "", "the tags it takes; '*' is any run of characters"),
        obeyed("Match_Regex", Kind::Regex, "", "tags that begin with a match are taken as well"),
        noted(
            "Active",
            Kind::Text,
            "true",
            "accepted for outputs, and without effect",
            "it has no effect there either",
        ),
        obeyed(
            "Retry_Limit",
            Kind::Retries,
            "no_limits",
            "how often a chunk is sent again; no_limits, no_retries or a count",
        ),
        noted(
            "storage.total_limit_size",
            Kind::Size,
            "",
            "bytes of chunks on disk",
            FILES_ARE_THE_BUFFER,
        ),
        obeyed(
            "Workers",
            Kind::Integer,
            "1",
            "connections to each address; a tag keeps to one of them, so that its order is kept",
        ),
        obeyed(
            "Retry_Max_Age",
            Kind::OwnTime,
            "",
            "gives events up that are older than this and not delivered (ours)",
        ),
        obeyed(
            "Host",
            Kind::Text,
            "127.0.0.1",
            "a name or an address; each address of a name is a node",
        ),
        obeyed("Port", Kind::Integer, "24224", "the port there"),
        noted(
            "IPv6",
            Kind::Boolean,
            "off",
            "connects over IPv6",
            "all addresses of a name are tried",
        ),
    ],
};

/// `tls` and `tls.*` of outputs.
pub const TLS: Group = Group {
    title: "TLS of an [OUTPUT]",
    scope: Scope::Core,
    keys: &[
        obeyed("tls", Kind::Boolean, "off", "encrypts the connection"),
        obeyed(
            "tls.verify",
            Kind::Boolean,
            "on",
            "takes only a certificate that somebody we trust has signed",
        ),
        obeyed(
            "tls.verify_hostname",
            Kind::Boolean,
            "off",
            "takes only a certificate for Host, or tls.vhost",
        ),
        obeyed("tls.vhost", Kind::Text, "", "the name to ask for and to expect, instead of Host"),
        obeyed(
            "tls.ca_file",
            Kind::Text,
            "",
            "whom to trust (PEM), and nobody else; unwritten: whom the system trusts, or Mozilla",
        ),
        obeyed("tls.ca_path", Kind::Text, "", "a folder of such files"),
        obeyed("tls.crt_file", Kind::Text, "", "our certificate (PEM), for servers that want one"),
        obeyed("tls.key_file", Kind::Text, "", "its key (PEM)"),
        obeyed("tls.key_passwd", Kind::Text, "", "the key's password, if it is encrypted (PKCS#8)"),
        noted(
            "tls.debug",
            Kind::Integer,
            "1",
            "how much to log",
            "failures are always logged, and Log_Level debug shows version and cipher",
        ),
        obeyed("tls.min_version", Kind::Text, "TLSv1.2", "the oldest version: TLSv1.2 or TLSv1.3"),
        obeyed("tls.max_version", Kind::Text, "TLSv1.3", "the newest version: TLSv1.2 or TLSv1.3"),
        obeyed(
            "tls.ciphers",
            Kind::Text,
            "",
            "the ciphers of TLS 1.2, by OpenSSL's names, with colons between them",
        ),
    ],
};

/// `net.*` of outputs.
pub const NETWORK: Group = Group {
    title: "network of an [OUTPUT]",
    scope: Scope::Plugin,
    keys: &[
        obeyed(
            "net.connect_timeout",
            Kind::Time,
            "5s",
            "how long a connection with its TLS may take, and then each answer of the handshake",
        ),
        noted(
            "net.connect_timeout_log_error",
            Kind::Boolean,
            "on",
            "logs that as an error",
            "it is always logged",
        ),
        obeyed(
            "net.io_timeout",
            Kind::Time,
            "",
            "how long a write may stand still and an acknowledgement may take; unwritten: 10s and 60s",
        ),
        obeyed(
            "net.keepalive",
            Kind::Boolean,
            "on",
            "uses a connection again; off makes one for each frame",
        ),
        obeyed(
            "net.keepalive_idle_timeout",
            Kind::Time,
            "",
            "closes a connection that had nothing to do for so long; unwritten: never",
        ),
        obeyed(
            "net.keepalive_max_recycle",
            Kind::Integer,
            "",
            "closes a connection after so many frames; unwritten: never",
        ),
        noted(
            "net.max_worker_connections",
            Kind::Integer,
            "0",
            "connections of a worker to a node",
            "there is never more than one",
        ),
        obeyed(
            "net.max_connection_age",
            Kind::OwnTime,
            "5m",
            "how long a connection is used, give or take a fifth, before its tags choose their \
             node again; only where there is a choice; 0 is for ever (ours)",
        ),
        noted(
            "net.tcp_keepalive",
            Kind::Boolean,
            "off",
            "probes an idle connection",
            "it is always probed",
        ),
        obeyed("net.tcp_keepalive_time", Kind::Integer, "4", "when the probes begin, in seconds"),
        obeyed(
            "net.tcp_keepalive_interval",
            Kind::Integer,
            "1",
            "how often they are sent, in seconds",
        ),
        obeyed("net.tcp_keepalive_probes", Kind::Integer, "4", "how many may be lost"),
        obeyed("net.source_address", Kind::Text, "", "the local address to connect from"),
        noted("net.dns.mode", Kind::Text, "", "UDP or TCP", SYSTEM_RESOLVER),
        noted("net.dns.resolver", Kind::Text, "", "LEGACY or ASYNC", SYSTEM_RESOLVER),
        obeyed("net.dns.prefer_ipv4", Kind::Boolean, "off", PREFER_IPV4),
        obeyed("net.dns.prefer_ipv6", Kind::Boolean, "off", PREFER_IPV6),
        noted(
            "net.proxy_env_ignore",
            Kind::Boolean,
            "off",
            "ignores HTTP_PROXY",
            "no proxy is ever used",
        ),
    ],
};

/// `[INPUT]` with `Name tail`.
pub const TAIL: Group = Group {
    title: "[INPUT] tail",
    scope: Scope::Plugin,
    keys: &[
        obeyed("Path", Kind::List, "", "the files to follow, as globs"),
        obeyed(
            "Exclude_Path",
            Kind::List,
            "",
            "globs of whole paths to leave out; '*' matches '/' too",
        ),
        obeyed(
            "Tag_Regex",
            Kind::Regex,
            "",
            "its named groups, found in the path, stand for <name> in the tag; a path that does \
             not fit is not followed",
        ),
        obeyed("Key", Kind::Text, "log", "the record key of a line that goes out as text"),
        obeyed("Parser", Kind::Text, "", "the parser of its lines"),
        obeyed("Read_from_Head", Kind::Boolean, "on", "sends what files hold at the start"),
        obeyed(
            "Read_newly_discovered_files_from_head",
            Kind::Boolean,
            "on",
            "sends what files hold that are found later; off: as Read_from_Head says, but for a \
             file that takes the place of a followed one",
        ),
        obeyed(
            "Refresh_Interval",
            Kind::SecondsAndNanos,
            "60",
            "how often directories are listed although no notice came",
        ),
        noted(
            "Watcher_Interval",
            Kind::Time,
            "2s",
            "how often symlinks are looked at",
            "a link that is switched is noticed at once; Progress_Check_Interval does the rest",
        ),
        obeyed(
            "Progress_Check_Interval",
            Kind::Time,
            "2s",
            "how often files without notices are looked at",
        ),
        obeyed("Progress_Check_Interval_nsec", Kind::Integer, "0", "nanoseconds to add to that"),
        obeyed(
            "Rotate_Wait",
            Kind::Time,
            "5",
            "how long a file that was moved away or deleted is kept open after its last byte",
        ),
        obeyed(
            "Inotify_Watcher",
            Kind::Boolean,
            "on",
            "off looks at every file instead of waiting for notices",
        ),
        obeyed(
            "Buffer_Chunk_Size",
            Kind::Size,
            "32768",
            "compared with Buffer_Max_Size and otherwise not needed",
        ),
        obeyed(
            "Buffer_Max_Size",
            Kind::Size,
            "",
            "two bytes more than the longest line that is taken whole; unwritten: 1 MiB",
        ),
        obeyed("Skip_Long_Lines", Kind::Boolean, "off", "leaves longer lines out"),
        obeyed(
            "Truncate_Long_Lines",
            Kind::Boolean,
            "off",
            "cuts longer lines; wins over Skip_Long_Lines, and is what we do when neither is on",
        ),
        obeyed(
            "Skip_Empty_Lines",
            Kind::Boolean,
            "off",
            "leaves out lines that are empty or only a carriage return",
        ),
        noted(
            "Static_Batch_Size",
            Kind::Size,
            "50M",
            "bytes of a round",
            "files take turns in small slices",
        ),
        noted(
            "Event_Batch_Size",
            Kind::Size,
            "50M",
            "bytes of a round",
            "files take turns in small slices",
        ),
        obeyed(
            "Ignore_Older",
            Kind::Time,
            "0",
            "does not begin with files that were not written to for longer; once one is, what \
             comes from then on is sent",
        ),
        noted(
            "Ignore_Active_Older_Files",
            Kind::Boolean,
            "off",
            "stops following quiet files",
            "what is written to a quiet file later arrives in either case, and following it costs \
             nothing",
        ),
        obeyed("Path_Key", Kind::Text, "", "the record key for the path of the file"),
        obeyed("Offset_Key", Kind::Text, "", "the record key for the offset of the line"),
        obeyed("DB", Kind::Text, "", "where positions are kept"),
        noted("DB.Sync", Kind::Text, "normal", "how SQLite writes", POSITIONS_ARE_SAFE),
        noted(
            "DB.Locking",
            Kind::Boolean,
            "off",
            "keeps others out of the database",
            POSITIONS_ARE_SAFE,
        ),
        noted(
            "DB.Journal_Mode",
            Kind::Choice(&["DELETE", "TRUNCATE", "PERSIST", "MEMORY", "WAL", "OFF"]),
            "WAL",
            "how SQLite writes",
            POSITIONS_ARE_SAFE,
        ),
        noted(
            "DB.Compare_Filename",
            Kind::Boolean,
            "off",
            "compares names too",
            "files are known by inode and content",
        ),
        obeyed(
            "Exit_On_Eof",
            Kind::Boolean,
            "off",
            "ends once every file found at the start was sent",
        ),
        obeyed(
            "Max_Held_Bytes",
            Kind::Size,
            "off; half of the volume on tmpfs",
            "what deleted files that are not delivered yet may hold of the volume; above it the \
             oldest is let go, with its lines (ours)",
        ),
        obeyed(
            "Follow_Symlinks",
            Kind::Choice(&["on", "inside"]),
            "on",
            "inside: not out of the directory that the pattern names before its first wildcard; \
             what is no regular file or lies in /proc is never followed (ours)",
        ),
        noted(
            "File_Cache_Advise",
            Kind::Boolean,
            "on",
            "empties the page cache",
            "the application may want its pages",
        ),
        obeyed(
            "Multiline",
            Kind::Boolean,
            "off",
            "joins lines, the old way: what follows a first line is added to its record",
        ),
        obeyed("Multiline_Flush", Kind::Time, "4", "when a message of Multiline is complete"),
        obeyed(
            "multiline.parser",
            Kind::List,
            "",
            "joins lines: docker, cri, java, go, python, ruby, or a [MULTILINE_PARSER]",
        )
        .repeatable(),
        obeyed(
            "Parser_*",
            Kind::Text,
            "",
            "with Multiline: Parser_Firstline reads first lines; Parser_1 and so on, others",
        )
        .repeatable(),
        obeyed("Docker_Mode", Kind::Boolean, "off", "joins the pieces of Docker's long lines"),
        obeyed(
            "Docker_Mode_Flush",
            Kind::Integer,
            "4",
            "seconds after which such a line is complete; at least 1",
        ),
        obeyed(
            "Docker_Mode_Parser",
            Kind::Text,
            "",
            "a [PARSER]: lines are joined to the one before that it reads",
        ),
        obeyed(
            "Unicode.Encoding",
            Kind::Choice(Encoding::UNICODE),
            "",
            "what the files are written in: auto, utf-16le or utf-16be; a byte order mark at the \
             beginning of a file is right in any case, and left out",
        ),
        obeyed(
            "Generic.Encoding",
            Kind::Choice(Encoding::GENERIC),
            "",
            "what the files are written in: ShiftJIS, UHC, GBK, GB18030, Big5, Win866, Win874, or \
             Win1250 to Win1256",
        ),
        noted(
            "Windows.Path_Encoding",
            Kind::Text,
            "ansi",
            "the encoding of paths",
            "it means something on Windows only",
        ),
    ],
};

/// `[FILTER]` with `Name record_modifier`.
pub const RECORD_MODIFIER: Group = Group {
    title: "[FILTER] record_modifier",
    scope: Scope::Plugin,
    keys: &[
        obeyed("Record", Kind::Words, "", "KEY VALUE: appended to every record").repeatable(),
        obeyed("Remove_key", Kind::Text, "", "a key to leave out; a '*' at the end makes a prefix")
            .repeatable(),
        obeyed("Allowlist_key", Kind::Text, "", "a key to keep; all others go").repeatable(),
        obeyed("Whitelist_key", Kind::Text, "", "the same as Allowlist_key").repeatable(),
        obeyed("Uuid_key", Kind::Text, "", "the key under which every record gets a random UUID"),
    ],
};

/// `[INPUT]` with `Name forward`.
pub const LISTEN: Group = Group {
    title: "[INPUT] forward",
    scope: Scope::Plugin,
    keys: &[
        obeyed(
            "Listen",
            Kind::Text,
            "0.0.0.0",
            "the address to listen on; 127.0.0.1 is for the applications of this Pod alone",
        ),
        obeyed("Port", Kind::Integer, "24224", "the TCP port there"),
        obeyed("Unix_Path", Kind::Text, "", "a Unix socket to listen on instead"),
        obeyed("Unix_Perm", Kind::Text, "", "its mode, octal; unwritten: what the umask leaves"),
        obeyed("Tag_Prefix", Kind::Text, "", "stands before the tag that a client writes"),
        obeyed(
            "Buffer_Max_Size",
            Kind::Size,
            "",
            "the most bytes of a frame, as it comes and once inflated; never more than half of \
             Mem_Buf_Limit, which holds when it is unwritten",
        ),
        obeyed(
            "On_Bad_Entry",
            Kind::Choice(&["reject", "skip"]),
            "reject",
            "what becomes of an entry of a frame that is no event: the whole frame is refused, or it \
             is left out and counted, as Fluentd has it (ours)",
        ),
        noted(
            "Buffer_Chunk_Size",
            Kind::Size,
            "1024000",
            "how the buffer of a connection grows",
            "it grows with what comes",
        ),
        obeyed("Shared_Key", Kind::Text, "", "what clients must prove to know, and we to them"),
        obeyed(
            "Shared_Key_File",
            Kind::Text,
            "",
            "a file that holds it, read again for each connection (ours)",
        ),
        obeyed(
            "Empty_Shared_Key",
            Kind::Boolean,
            "off",
            "shakes hands with an empty key; wins over Shared_Key",
        ),
        obeyed(
            "Self_Hostname",
            Kind::Text,
            "<host name>",
            "our name in the handshake; must not be the client's",
        ),
        obeyed(
            "Security.Users",
            Kind::Words,
            "",
            "USER PASSWORD: one that clients must know beside the shared key",
        )
        .repeatable(),
        obeyed(
            "Security.Allow",
            Kind::Words,
            "",
            "an address, or a network such as 10.0.0.0/8: clients from there are let in, and from \
             nowhere else (ours)",
        )
        .repeatable(),
        obeyed(
            "Security.Client",
            Kind::Words,
            "",
            "NETWORK KEY: so are those, with this key in place of Shared_Key; where several networks \
             have an address, the smallest holds (ours)",
        )
        .repeatable(),
        obeyed(
            "Security.Client_Key_File",
            Kind::Words,
            "",
            "NETWORK FILE: the same, with the key in a file (ours)",
        )
        .repeatable(),
        noted("Workers", Kind::Integer, "1", "threads that listen", ONE_THREAD),
        noted("net.share_port", Kind::Boolean, "off", "shares the port", ONE_LISTENER),
        noted("net.backlog", Kind::Integer, "128", "connections that wait", ONE_LISTENER),
        noted(
            "net.accept_timeout",
            Kind::Time,
            "10s",
            "how long a handshake may take",
            OWN_PATIENCE,
        ),
        noted(
            "net.accept_timeout_log_error",
            Kind::Boolean,
            "on",
            "logs that as an error",
            OWN_PATIENCE,
        ),
        noted("net.io_timeout", Kind::Time, "0s", "closes an idle connection", OWN_PATIENCE),
        noted("net.keepalive", Kind::Boolean, "on", "keeps connections", OWN_PATIENCE),
    ],
};

/// `tls` and `tls.*` of inputs.
pub const TLS_LISTEN: Group = Group {
    title: "TLS of an [INPUT] forward",
    scope: Scope::Core,
    keys: &[
        obeyed("tls", Kind::Boolean, "off", "takes connections only inside of TLS"),
        obeyed(
            "tls.verify",
            Kind::Boolean,
            "on",
            "with tls.ca_file or tls.ca_path, clients must show a certificate",
        ),
        obeyed("tls.ca_file", Kind::Text, "", "who must have signed it (PEM)"),
        obeyed("tls.ca_path", Kind::Text, "", "a folder of such files"),
        obeyed("tls.crt_file", Kind::Text, "", "our certificate (PEM); needed with 'tls on'"),
        obeyed("tls.key_file", Kind::Text, "", "its key (PEM)"),
        obeyed("tls.key_passwd", Kind::Text, "", "the key's password, if it is encrypted (PKCS#8)"),
        obeyed("tls.min_version", Kind::Text, "TLSv1.2", "the oldest version: TLSv1.2 or TLSv1.3"),
        obeyed("tls.max_version", Kind::Text, "TLSv1.3", "the newest version: TLSv1.2 or TLSv1.3"),
        obeyed(
            "tls.ciphers",
            Kind::Text,
            "",
            "the ciphers of TLS 1.2, by OpenSSL's names, with colons between them",
        ),
        noted("tls.verify_hostname", Kind::Boolean, "off", "checks a server's name", ONLY_CLIENTS),
        noted("tls.vhost", Kind::Text, "", "the name to ask a server for", ONLY_CLIENTS),
        noted("tls.debug", Kind::Integer, "1", "how much to log", "failures are always logged"),
    ],
};

/// `[OUTPUT]` with `Name forward`.
pub const FORWARD: Group = Group {
    title: "[OUTPUT] forward",
    scope: Scope::Plugin,
    keys: &[
        obeyed(
            "Time_as_Integer",
            Kind::Boolean,
            "off",
            "cuts times to whole seconds, for Fluentd before 0.14; not together with Compress",
        ),
        noted(
            "Retain_Metadata_In_Forward_Mode",
            Kind::Boolean,
            "off",
            "adds metadata to every event",
            "plain [time, record] events are sent, as Fluentd up to 1.19.3 throws others away",
        ),
        noted(
            "Send_options",
            Kind::Boolean,
            "off",
            "sends the option map",
            "it is sent whenever it says something",
        ),
        obeyed(
            "Require_ack_response",
            Kind::Boolean,
            "on",
            "off counts a chunk as delivered once the kernel has its bytes",
        ),
        obeyed(
            "Tag",
            Kind::Text,
            "",
            "the tag to send under; $TAG is the event's, $TAG[n] its part n between dots, $key['inner'] a value of its record",
        ),
        obeyed(
            "Compress",
            Kind::Text,
            "text",
            "compresses frames: gzip, or zstd for a receiver that reads it (Fluentd 1.19)",
        ),
        obeyed(
            "Shared_Key",
            Kind::Text,
            "",
            "the shared_key of the server's <security> section; both sides prove that they know it",
        ),
        obeyed(
            "Shared_Key_File",
            Kind::Text,
            "",
            "a file that holds it, read again for each connection (ours)",
        ),
        obeyed(
            "Empty_Shared_Key",
            Kind::Boolean,
            "off",
            "shakes hands with an empty key; wins over Shared_Key",
        ),
        obeyed("Username", Kind::Text, "", "a user of the server's <security> section"),
        obeyed("Password", Kind::Text, "", "the user's password"),
        obeyed(
            "Password_File",
            Kind::Text,
            "",
            "a file that holds it, read again for each connection (ours)",
        ),
        obeyed(
            "Self_Hostname",
            Kind::Text,
            "<host name>.client",
            "our name in the handshake; must not be the server's",
        ),
        obeyed(
            "Unix_Path",
            Kind::Text,
            "",
            "a Unix socket to connect to, instead of Host and Port",
        ),
        obeyed("Upstream", Kind::Text, "", "a file of nodes, in place of Host and Port"),
        obeyed("Add_Option", Kind::Words, "", "KEY VALUE: added to the option of every frame")
            .repeatable(),
        noted(
            "Fluentd_compat",
            Kind::Boolean,
            "off",
            "how metrics and traces are sent",
            "only logs are sent",
        ),
    ],
};

/// `[UPSTREAM]` in an upstream file.
pub const UPSTREAM: Group = Group {
    title: "[UPSTREAM]",
    scope: Scope::Section,
    keys: &[obeyed("Name", Kind::Text, "", "what people call it")],
};

/// `[NODE]` in an upstream file. It may also say what the output says about the connection: the
/// keys of `[OUTPUT] forward` and of TLS.
pub const NODE: Group = Group {
    title: "[NODE]",
    scope: Scope::Plugin,
    keys: &[
        obeyed("Name", Kind::Text, "", "what people call it"),
        obeyed("Host", Kind::Text, "", "a name or an address; each address of a name is a node"),
        obeyed("Port", Kind::Integer, "", "the port there"),
        obeyed(
            "Weight",
            Kind::Integer,
            "60",
            "its part of the tags, as in Fluentd; 0 is never used (ours)",
        ),
        obeyed(
            "Standby",
            Kind::Boolean,
            "off",
            "serves only while weight of other nodes is missing, as in Fluentd (ours)",
        ),
    ],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_is_declared_twice_in_what_one_plugin_may_say() {
        let plugins: [&[&Group]; 7] = [
            &[&SERVICE],
            &[&PARSER],
            &[&INPUT, &TAIL],
            &[&INPUT, &LISTEN, &TLS_LISTEN],
            &[&FILTER, &RECORD_MODIFIER],
            &[&OUTPUT, &NETWORK, &TLS, &FORWARD],
            &[&NODE, &TLS, &FORWARD],
        ];
        for groups in plugins {
            let mut names: Vec<_> = groups
                .iter()
                .flat_map(|group| group.keys)
                .map(|key| key.name.to_ascii_lowercase())
                .collect();
            let declared = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), declared, "{}", groups[groups.len() - 1].title);
        }
    }

    #[test]
    fn a_key_with_a_star_is_called_by_any_name_that_begins_like_it() {
        for (name, expected) in [
            ("parser_firstline", Some("Parser_*")),
            ("PARSER_1", Some("Parser_*")),
            ("parser", Some("Parser")),
            ("pars", None),
            ("é", None),
        ] {
            assert_eq!(TAIL.find(name).map(|key| key.name), expected, "{name}");
        }
    }

    #[test]
    fn every_key_says_what_it_does_and_why_we_do_not() {
        for key in Group::ALL.iter().flat_map(|group| group.keys) {
            assert!(!key.doc.is_empty(), "{}", key.name);
            match key.standing {
                Standing::Obeyed => {}
                Standing::Note(why) => assert!(!why.is_empty(), "{}", key.name),
                Standing::Unsupported { instead, .. } => {
                    assert!(!instead.is_empty(), "{}", key.name)
                }
            }
        }
    }
}
