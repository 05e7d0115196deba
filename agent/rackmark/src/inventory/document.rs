//! The inventory in the form that evidence names by its digest.

use rackmark_feed::codes::ClaimClass;
use rackmark_feed::inventory::{Claim, Fact, Finding, Inventory as Document};
use rackmark_firmware_hooks::inventory::{Component, Inventory};
use ring::digest::{SHA256, digest};

/// The feed's document. Software of this host reports it all; what people said of swaps is declared.
pub fn document(inventory: &Inventory) -> Document {
    let facts = inventory.facts.iter().map(|fact| Fact {
        component: fact.component.name().to_owned(),
        instance: fact.instance.clone(),
        field: fact.field.clone(),
        value: fact.value.clone(),
        claim: Claim(match fact.component {
            Component::Swap => ClaimClass::Declared,
            _ => ClaimClass::Reported,
        }),
    });
    let findings = inventory.findings.iter().map(|finding| Finding {
        code: finding.code.name().to_owned(),
        instance: finding.instance.clone(),
        detail: finding.detail.clone(),
    });
    Document::new(facts.collect(), findings.collect())
}

/// SHA-256 of the document's bytes, in hexadecimal digits; absent where it is over a limit of the feed.
pub fn digest_hex(inventory: &Inventory) -> Option<String> {
    let bytes = document(inventory).to_bytes().ok()?;
    Some(digest(&SHA256, &bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use rackmark_feed::inventory::Inventory as Document;
    use rackmark_firmware_hooks::inventory::{
        Component, FACTS_MAX, FIELDS, FINDINGS_MAX, Fact, Finding, FindingCode, VALUE_BYTES_MAX,
    };

    use super::*;

    #[test]
    fn the_fullest_inventory_fits_the_feed() {
        let longest = "x".repeat(VALUE_BYTES_MAX);
        let facts = (0..FACTS_MAX).map(|number| Fact {
            component: Component::Memory,
            instance: format!("{number:0>96}"),
            field: "part_number".to_owned(),
            value: longest.clone(),
        });
        let findings = (0..FINDINGS_MAX).map(|number| Finding {
            code: FindingCode::ProcfsGpuWithoutPciDevice,
            instance: format!("{number:0>256}"),
            detail: longest.clone(),
        });
        let inventory =
            Inventory { facts: facts.collect(), findings: findings.collect(), ..Inventory::default() };
        let bytes = document(&inventory).to_bytes().expect("within limits");
        assert_eq!(Document::parse(&bytes), Ok(document(&inventory)));
        assert_eq!(digest_hex(&inventory).map(|digits| digits.len()), Some(64));
        // A name is bounded more tightly than a text.
        assert!(FIELDS.iter().all(|field| field.name.len() <= 64));
    }
}
