use super::*;

fn fixed() -> JoinCode {
    Code::from_symbols(&(0..24).collect::<Vec<u8>>()).unwrap()
}

#[test]
fn a_code_reads_back_in_every_way_people_write_it() {
    let code = fixed();
    let text = code.reveal();
    assert_eq!(*text, "01234-56789-ABCDE-FGHJK-MNPQP");
    for typed in [
        text.to_string(),
        text.to_lowercase(),
        text.replace('-', " "),
        text.replace('0', "o"),
        text.replace('1', "l"),
    ] {
        assert_eq!(Typed::parse(&typed).unwrap().secret(), code.secret(), "{typed}");
    }
}

#[test]
fn every_wrong_character_and_every_swap_is_a_typing_mistake() {
    for text in [
        fixed().reveal().replace('-', ""),
        RecoveryKey::generate().unwrap().reveal().replace('-', ""),
    ] {
        for at in 0..text.len() {
            for other in ALPHABET {
                let mut typed = text.clone().into_bytes();
                let wrong = typed[at] != *other;
                typed[at] = *other;
                let parsed = Typed::parse(std::str::from_utf8(&typed).unwrap());
                assert_eq!(parsed.is_err(), wrong);
            }
            let mut typed = text.clone().into_bytes();
            if at > 0 && typed[at] != typed[at - 1] {
                typed.swap(at, at - 1);
                assert!(Typed::parse(std::str::from_utf8(&typed).unwrap()).is_err());
            }
        }
    }
}

#[test]
fn a_code_of_another_length_says_so() {
    let error = Typed::parse("ABC-DEF").unwrap_err();
    assert_eq!(error.kind, CloudErrorKind::Invalid);
    assert!(error.message.contains("6 characters"), "{error}");
    assert!(Typed::parse("U".repeat(25).as_str()).unwrap_err().message.contains("'U'"));
    assert!(Typed::parse("").is_err());
}

#[test]
fn a_drive_key_opens_with_its_code_for_its_drive_only() {
    let key = DriveKey::from_bytes([7; 32]);
    let (secret, drive, params) = ([1; 24], [2; 16], b"params".as_slice());
    let sealed = seal_key(&secret, (&drive, params), &key, [3; 24]).unwrap();
    let opened = open_key(&secret, (&drive, params), &sealed).unwrap();
    assert_eq!(opened.bytes(), key.bytes());
    assert!(open_key(&[9; 24], (&drive, params), &sealed).is_err());
    assert!(open_key(&secret, (&[9; 16], params), &sealed).is_err());
    assert!(open_key(&secret, (&drive, b"others"), &sealed).is_err());
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        assert!(open_key(&secret, (&drive, params), &changed).is_err(), "byte {at}");
        assert!(open_key(&secret, (&drive, params), &sealed[..at]).is_err());
    }
}

#[test]
fn secrets_are_not_printed() {
    let code = fixed();
    assert!(!format!("{code:?}").contains("MNPQ"));
    assert_eq!(format!("{:?}", DriveKey::from_bytes([7; 32])), "DriveKey(secret)");
    assert_ne!(lookup(code.secret()), lookup(&[0; 24]));
}
