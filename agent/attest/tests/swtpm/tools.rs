//! What the process says, judged by tpm2-tools, which have nothing in common with it but the specification.

use rackmark_e2e::Outcome;
use rackmark_e2e::swtpm::{Certified, Chip, Swtpm};
use rackmark_e2e::tpm_proxy::{CC_START_AUTH_SESSION, Fate, TpmProxy};
use rackmark_feed::verify::tpm::Public;
use rackmark_model::tpm::{TpmFault, TpmKeys, TpmOrder, TpmReport};

use crate::attester::{Attester, opened};

/// The magic and version in front of a credential as the tools keep it.
const CREDENTIAL_HEADER: [u8; 8] = [0xba, 0xdc, 0xc0, 0xde, 0, 0, 0, 1];

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A key as the tools read it: `TPM2B_PUBLIC`.
fn write_public(tpm: &Swtpm<'_>, file: &str, public: &[u8]) -> Outcome<()> {
    let length = u16::try_from(public.len())?.to_be_bytes();
    Ok(std::fs::write(tpm.path(file), [&length[..], public].concat())?)
}

#[test]
fn a_quote_satisfies_tpm2_checkquote() -> Outcome<()> {
    let chip = Chip::manufacture(Certified::ByNobody)?;
    let tpm = Swtpm::power(&chip)?;
    tpm.tool(&format!("tpm2_pcrextend 4:sha256={}", hex(&[5; 32])))?;
    let (mut attester, keys) = opened(&tpm, None)?;
    // With eight registers these tools stumble over their own limit.
    let report = attester.ask(&TpmOrder::Quote { qualifying: [0x5a; 32], registers: 0x7f })?;
    let TpmReport::Quoted(quote) = report else { return Err(format!("{report:?}").into()) };
    drop(attester);
    write_public(&tpm, "ak", &keys.attestation)?;
    std::fs::write(tpm.path("quoted"), &quote.quoted)?;
    std::fs::write(tpm.path("signature"), &quote.signature)?;
    let values: Vec<u8> = quote.values.iter().flat_map(|(_, value)| value.clone()).collect();
    let check = |values: &[u8], qualifying: [u8; 32]| -> Outcome<Vec<u8>> {
        std::fs::write(tpm.path("values"), values)?;
        tpm.tool(&format!(
            "tpm2_checkquote -u ak -m quoted -s signature -g sha256 -f values -l sha256:0,1,2,3,4,5,6 -q {}",
            hex(&qualifying)
        ))
    };
    check(&values, [0x5a; 32])?;
    assert!(check(&values, [0x5b; 32]).is_err(), "the check can fail");
    let mut other = values;
    other[4 * 32] ^= 1;
    assert!(check(&other, [0x5a; 32]).is_err(), "the check can fail");
    // And the values are those that the tools read.
    tpm.tool("tpm2_pcrread sha256:4 -o four")?;
    assert_eq!(quote.values[4], (4, tpm.file("four")?));
    Ok(())
}

fn credential(tpm: &Swtpm<'_>, keys: &TpmKeys, name: &[u8]) -> Outcome<TpmOrder> {
    write_public(tpm, "ek", &keys.endorsement)?;
    std::fs::write(tpm.path("secret"), b"a secret of the tools")?;
    tpm.tool(&format!("tpm2_makecredential -T none -u ek -s secret -n {} -o credential", hex(name)))?;
    let made = tpm.file("credential")?;
    let parts = made.strip_prefix(&CREDENTIAL_HEADER).ok_or("a credential of another shape")?;
    let length = usize::from(u16::from_be_bytes([parts[0], parts[1]])) + 2;
    Ok(TpmOrder::Activate {
        credential_blob: parts[..length].to_vec(),
        encrypted_secret: parts[length..].to_vec(),
    })
}

#[test]
fn credentials_of_tpm2_makecredential_open() -> Outcome<()> {
    for without in [None, Some("0x1c00016")] {
        let chip = Chip::manufacture(Certified::ByItsMaker)?;
        let tpm = Swtpm::power(&chip)?;
        if let Some(index) = without {
            tpm.tool(&format!("tpm2_nvundefine {index} -C p"))?;
        }
        let (mut attester, keys) = opened(&tpm, None)?;
        let name = Public::parse(&keys.attestation)?.name();
        let order = credential_while(&mut attester, &tpm, &keys, &name)?;
        assert_eq!(
            attester.ask(&order)?,
            TpmReport::Activated(b"a secret of the tools".to_vec()),
            "{without:?}"
        );
        // For another key of the same TPM it stays closed.
        let mut other = name;
        other[9] ^= 1;
        let order = credential_while(&mut attester, &tpm, &keys, &other)?;
        refused(&mut attester, &order)?;
    }
    Ok(())
}

/// A software TPM has one client at a time, so the tool has its turn before the process connects again.
fn credential_while(
    attester: &mut Attester,
    tpm: &Swtpm<'_>,
    keys: &TpmKeys,
    name: &[u8],
) -> Outcome<TpmOrder> {
    *attester = Attester::start(&tpm.tcti())?;
    let order = credential(tpm, keys, name)?;
    assert!(!attester.open(Some(keys.kept.clone()))?.is_new);
    Ok(order)
}

fn refused(attester: &mut Attester, order: &TpmOrder) -> Outcome<()> {
    match attester.ask(order)? {
        TpmReport::Failed { fault: TpmFault::WrongCredential, .. } => Ok(()),
        other => Err(format!("{other:?}").into()),
    }
}

#[test]
fn a_credential_for_another_tpm_stays_closed() -> Outcome<()> {
    let (chip, other) = (Chip::manufacture(Certified::ByNobody)?, Chip::manufacture(Certified::ByNobody)?);
    let (tpm, elsewhere) = (Swtpm::power(&chip)?, Swtpm::power(&other)?);
    let (mut attester, keys) = opened(&tpm, None)?;
    let theirs = opened(&elsewhere, None)?.1;
    // The right attestation key, and the endorsement key of another TPM.
    let name = Public::parse(&keys.attestation)?.name();
    let order = credential(&elsewhere, &theirs, &name)?;
    refused(&mut attester, &order)
}

#[test]
fn the_tools_find_the_same_endorsement_key() -> Outcome<()> {
    let chip = Chip::manufacture(Certified::ByItsMaker)?;
    let tpm = Swtpm::power(&chip)?;
    tpm.tool("tpm2_nvundefine 0x1c00016 -C p")?;
    let keys = opened(&tpm, None)?.1;
    tpm.tool("tpm2_createek -c ek.ctx -G rsa -u ek.pub")?;
    tpm.tool("tpm2_readpublic -c ek.ctx -f tpmt -o ek.tpmt")?;
    assert_eq!(tpm.file("ek.tpmt")?, keys.endorsement);
    Ok(())
}

/// A listener on the bus of a discrete TPM hears neither the secret nor what its encryption was made from.
#[test]
fn the_secret_of_a_credential_is_not_heard_on_the_bus() -> Outcome<()> {
    let chip = Chip::manufacture(Certified::ByNobody)?;
    let tpm = Swtpm::power(&chip)?;
    let keys = opened(&tpm, None)?.1;
    let order = credential(&tpm, &keys, &Public::parse(&keys.attestation)?.name())?;
    let proxy = TpmProxy::before(&tpm, |_| Fate::Pass)?;
    let mut attester = Attester::start(&proxy.tcti())?;
    attester.open(Some(keys.kept))?;
    proxy.heard();
    let secret = b"a secret of the tools".to_vec();
    assert_eq!(attester.ask(&order)?, TpmReport::Activated(secret.clone()));
    let heard = proxy.heard();
    assert!(!heard.iter().any(|message| message.windows(secret.len()).any(|part| part == secret)));
    let starts: Vec<&[u8]> = heard
        .iter()
        .step_by(2)
        .filter(|command| command[6..10] == CC_START_AUTH_SESSION.to_be_bytes())
        .map(|command| &command[10..14])
        .collect();
    // Salted for a key in the TPM (handles from 0x80000000), and not for none (0x40000007).
    assert!(starts.len() == 1 && starts[0][0] == 0x80, "{starts:?}");
    Ok(())
}
