//! Our two ends of TLS, against each other and against what can be wrong with the files.

#![allow(clippy::unwrap_used, reason = "a helper that fails should fail its test")]

mod support;

use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use log_ambassador::model::Secret;
use log_ambassador::tls::{self, Cipher, Client, Server, Settings, Version};
use pkcs8::LineEnding;
use pkcs8::der::pem::PemLabel;
use rcgen::KeyPair;
use rustls::ProtocolVersion;
use support::TestCa;
use support::certificates::self_signed;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

fn server(ca: &TestCa, stem: &str) -> Settings {
    Settings {
        crt_file: Some(ca.file(&format!("{stem}.crt"))),
        key_file: Some(ca.file(&format!("{stem}.key"))),
        ..Settings::default()
    }
}

fn client(ca_file: &Path) -> Settings {
    Settings { ca_file: Some(ca_file.to_owned()), ..Settings::default() }
}

/// What a connection agreed on, or what the client is told.
type Talk = Result<(ProtocolVersion, rustls::CipherSuite), String>;

/// Sends a word to and fro. A server that takes no certificate says so when we read.
fn talk(client: &Client, server: &Server, host: &str) -> Talk {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (near, far) = duplex(1 << 16);
    let listen = async {
        let mut stream = server.accept(far).await?;
        let mut word = [0; 4];
        stream.read_exact(&mut word).await?;
        stream.write_all(&word).await?;
        stream.shutdown().await
    };
    let connect = async {
        let mut stream = client.connect(host, near).await?;
        stream.write_all(b"word").await?;
        stream.flush().await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        assert_eq!(answer, b"word");
        let session = stream.get_ref().1;
        let suite = session.negotiated_cipher_suite().unwrap().suite();
        io::Result::Ok((session.protocol_version().unwrap(), suite))
    };
    let (heard, said) = runtime.block_on(async { tokio::join!(listen, connect) });
    let said = said.map_err(|error| tls::explain(&error).unwrap_or_else(|| error.to_string()))?;
    heard.unwrap();
    Ok(said)
}

fn talk_with(client: Settings, server: Settings, host: &str) -> Talk {
    let (client, server) = (Client::new("out", client), Server::new("in", server));
    talk(&client.unwrap(), &server.unwrap(), host)
}

#[test]
fn a_server_is_taken_if_we_trust_its_ca_whatever_its_name_unless_names_are_verified() {
    let (ca, other) = (TestCa::new(), TestCa::new());
    ca.write("tls", "fluentd.example");
    let ca_file = ca.file("ca.crt");
    let strict = Settings { verify_hostname: true, ..client(&ca_file) };
    let vhost = Settings { vhost: Some("fluentd.example".to_owned()), ..strict.clone() };
    let careless = Settings { verify: false, ..Settings::default() };
    let by_folder = Settings { ca_path: Some(ca.path().to_owned()), ..Settings::default() };
    for (client, host, problem) in [
        (client(&ca_file), "fluentd.example", None),
        (client(&ca_file), "10.0.0.7", None),
        (by_folder, "fluentd.example", None),
        (strict.clone(), "fluentd.example", None),
        (strict, "other.example", Some("as tls.vhost")),
        (vhost, "other.example", None),
        (self::client(&other.file("ca.crt")), "fluentd.example", Some("of its CA as tls.ca_file")),
        (Settings::default(), "fluentd.example", Some("of its CA as tls.ca_file")),
        (careless, "other.example", None),
    ] {
        let told = talk_with(client, server(&ca, "tls"), host).err();
        assert_eq!(told.is_some(), problem.is_some(), "{host}: {told:?}");
        let told = told.unwrap_or_default();
        assert!(told.contains(problem.unwrap_or_default()), "{told}");
    }
}

#[test]
fn a_certificate_that_signed_itself_is_taken_if_it_is_named_and_no_other() {
    let ca = TestCa::new();
    for stem in ["one", "two"] {
        let (certificate, key) = self_signed("fluentd.example");
        ca.write_pair(stem, &certificate, &key);
    }
    let strict = Settings { verify_hostname: true, ..client(&ca.file("one.crt")) };
    assert!(talk_with(strict.clone(), server(&ca, "one"), "fluentd.example").is_ok());
    let told = talk_with(strict.clone(), server(&ca, "one"), "other.example").unwrap_err();
    assert!(told.contains("as tls.vhost"), "{told}");
    assert!(talk_with(strict, server(&ca, "two"), "fluentd.example").is_err());
}

#[test]
fn with_a_ca_of_its_own_a_server_wants_a_certificate_from_its_clients() {
    let (ca, other) = (TestCa::new(), TestCa::new());
    ca.write("tls", "fluentd.example");
    ca.write("us", "us.example");
    other.write("us", "us.example");
    let ca_file = ca.file("ca.crt");
    let mutual = Settings { ca_file: Some(ca_file.clone()), ..server(&ca, "tls") };
    let with_pair =
        |from: &TestCa| Settings { ca_file: Some(ca_file.clone()), ..server(from, "us") };
    assert!(talk_with(with_pair(&ca), mutual.clone(), "x").is_ok());
    for client in [client(&ca_file), with_pair(&other)] {
        let told = talk_with(client, mutual.clone(), "x").unwrap_err();
        assert!(told.contains("as tls.crt_file, and its key"), "{told}");
    }
    let asks_nobody = Settings { verify: false, ..mutual };
    assert!(talk_with(client(&ca_file), asks_nobody, "x").is_ok());
}

#[test]
fn versions_and_ciphers_are_those_that_are_written() {
    let ca = TestCa::new();
    ca.write("tls", "fluentd.example");
    let any = || client(&ca.file("ca.crt"));
    let old = Settings { max_version: Version::Tls12, ..any() };
    let new = Settings { min_version: Version::Tls13, ..any() };
    let versions =
        |client, server: Settings| talk_with(client, server, "x").map(|(version, _)| version);
    assert_eq!(versions(any(), server(&ca, "tls")), Ok(ProtocolVersion::TLSv1_3));
    assert_eq!(versions(old.clone(), server(&ca, "tls")), Ok(ProtocolVersion::TLSv1_2));
    let only_old = Settings { max_version: Version::Tls12, ..server(&ca, "tls") };
    assert_eq!(versions(any(), only_old.clone()), Ok(ProtocolVersion::TLSv1_2));
    let told = versions(new, only_old).unwrap_err();
    assert!(told.contains("see tls.min_version"), "{told}");

    for name in ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"] {
        let cipher = Cipher::named(name).unwrap();
        let picky = Settings { ciphers: Some(vec![cipher]), ..old.clone() };
        let (_, suite) = talk_with(picky, server(&ca, "tls"), "x").unwrap();
        let spoken = format!("{suite:?}").replace("_WITH", "").replace("AES_128", "AES128");
        assert!(spoken.contains(&name.replace('-', "_")), "{name}: {spoken}");
    }
}

#[test]
fn plain_bytes_where_tls_is_due_are_told_as_such() {
    let ca = TestCa::new();
    let client = Client::new("out", client(&ca.file("ca.crt"))).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let error = runtime.block_on(async {
        let (near, mut far) = duplex(1 << 16);
        far.write_all(b"\x92\xa4HELO\x81\xa5nonce\xa1n").await.unwrap();
        client.connect("x", near).await.unwrap_err()
    });
    let told = tls::explain(&error).unwrap();
    assert!(told.contains("write 'tls off'"), "{told}");
}

#[test]
fn files_are_read_again_for_new_connections_and_broken_ones_change_nothing() {
    let ca = TestCa::new();
    let (first, second) = (ca.sign("first.example"), ca.sign("second.example"));
    // As Kubernetes mounts a Secret: files are links into `..data`, which is a link itself.
    let put = |folder: &str, pair: &(String, String)| {
        let folder = ca.file(folder);
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("tls.crt"), &pair.0).unwrap();
        std::fs::write(folder.join("tls.key"), &pair.1).unwrap();
        symlink(&folder, ca.file("..new")).unwrap();
        std::fs::rename(ca.file("..new"), ca.file("..data")).unwrap();
    };
    put("..1", &first);
    symlink("..data/tls.crt", ca.file("tls.crt")).unwrap();
    symlink("..data/tls.key", ca.file("tls.key")).unwrap();

    let client =
        Client::new("out", Settings { verify_hostname: true, ..client(&ca.file("ca.crt")) })
            .unwrap();
    let server = Server::new("in", server(&ca, "tls")).unwrap();
    let is = |host: &str| talk(&client, &server, host).is_ok();
    assert!(is("first.example") && !is("second.example"));

    put("..2", &(second.0.clone(), first.1.clone()));
    assert!(is("first.example"), "the new key is not the new certificate's");
    put("..3", &(second.0.clone(), "no key".to_owned()));
    assert!(is("first.example"), "the new key is none");
    std::fs::remove_file(ca.file("..data")).unwrap();
    assert!(is("first.example"), "there are no files");
    put("..4", &second);
    assert!(is("second.example") && !is("first.example"));
    put("..5", &first);
    assert!(is("first.example") && !is("second.example"));

    // The client's side: whom it trusts.
    let other = TestCa::new();
    std::fs::copy(other.file("ca.crt"), ca.file("ca.crt")).unwrap();
    assert!(!is("first.example"));
    std::fs::write(ca.file("ca.crt"), "nobody").unwrap();
    assert!(!is("first.example"), "the last that was of use is kept");
}

#[test]
fn encrypted_keys_are_decrypted_with_their_password_and_with_no_other() {
    let ca = TestCa::new();
    let (certificate, plain) = ca.sign("fluentd.example");
    let der = KeyPair::from_pem(&plain).unwrap().serialize_der();
    let key = pkcs8::PrivateKeyInfoRef::try_from(der.as_slice()).unwrap();
    let encrypted = key.encrypt("pa55").unwrap();
    let label = pkcs8::EncryptedPrivateKeyInfoRef::PEM_LABEL;
    let encrypted = encrypted.to_pem(label, LineEnding::LF).unwrap();
    ca.write_pair("tls", &certificate, &encrypted);
    let with = |password: Option<&str>| {
        Server::new("in", Settings { key_passwd: password.map(Secret::new), ..server(&ca, "tls") })
    };
    let server = with(Some("pa55")).unwrap();
    let client = Client::new("out", client(&ca.file("ca.crt"))).unwrap();
    assert!(talk(&client, &server, "fluentd.example").is_ok());
    for (password, part) in [(None, "write its password"), (Some("wr0ng"), "cannot be decrypted")] {
        let message = with(password).err().unwrap().to_string();
        assert!(message.starts_with("tls.key_file: "), "{message}");
        assert!(message.contains(part), "{message}");
        assert!(!message.contains("wr0ng"), "{message}");
    }
}

#[test]
fn files_of_no_use_are_named_with_their_key_and_the_remedy() {
    let ca = TestCa::new();
    ca.write("tls", "x.example");
    ca.write("other", "x.example");
    std::fs::write(ca.file("empty"), "").unwrap();
    std::fs::write(
        ca.file("old.key"),
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAA==\n-----END RSA PRIVATE KEY-----\n",
    )
    .unwrap();
    std::fs::create_dir(ca.file("folder")).unwrap();
    let good = server(&ca, "tls");
    let with = |crt: Option<&str>, key: Option<&str>| Settings {
        crt_file: crt.map(|name| ca.file(name)),
        key_file: key.map(|name| ca.file(name)),
        ..Settings::default()
    };
    for (settings, key, part) in [
        (with(None, None), "tls.crt_file: ", "a server needs a certificate"),
        (with(Some("tls.crt"), None), "tls.key_file: ", "needs its key"),
        (with(None, Some("tls.key")), "tls.crt_file: ", "needs its certificate"),
        (with(Some("none"), Some("tls.key")), "tls.crt_file: ", "none: No such file"),
        (with(Some("empty"), Some("tls.key")), "tls.crt_file: ", "BEGIN CERTIFICATE"),
        (with(Some("tls.crt"), Some("empty")), "tls.key_file: ", "BEGIN PRIVATE KEY"),
        (with(Some("tls.crt"), Some("old.key")), "tls.key_file: ", "openssl pkcs8 -topk8"),
        (with(Some("tls.crt"), Some("other.key")), "tls.crt_file and tls.key_file: ", "key"),
        (Settings { ca_file: Some(ca.file("empty")), ..good.clone() }, "tls.ca_file: ", "PEM"),
        (
            Settings { ca_path: Some(ca.file("folder")), ..good },
            "tls.ca_path: ",
            "no readable file",
        ),
    ] {
        let message = Server::new("in", settings).err().unwrap().to_string();
        assert!(message.starts_with(key) && message.contains(part), "{message}");
    }
}
