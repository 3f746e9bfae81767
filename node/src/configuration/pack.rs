//! Documents as the log keeps them: compressed, because fifty of them are in every node's memory.

use tandem_cluster::{
    configuration::Document, ids::TenantId, limits::CONFIGURATION_DOCUMENT_BYTES_MAX,
};

/// The first byte: an LZ4 block with its size in front.
const LZ4: u8 = 1;
/// Largest text that is unpacked.
pub(crate) const UNPACKED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Packs a document; `None` when it is larger than the log keeps.
pub(super) fn pack(tenant: TenantId, text: &str) -> Option<Document> {
    if text.len() > UNPACKED_BYTES_MAX {
        return None;
    }
    let mut bytes = vec![LZ4];
    bytes.extend(lz4_flex::block::compress_prepend_size(text.as_bytes()));
    (bytes.len() <= CONFIGURATION_DOCUMENT_BYTES_MAX).then_some(Document { tenant, bytes })
}

/// Reads what [`pack`] wrote; `None` when it is of a newer program, or damaged.
pub(super) fn unpack(document: &Document) -> Option<String> {
    let (&LZ4, block) = document.bytes.split_first()? else { return None };
    let (size, _) = block.split_first_chunk::<4>()?;
    // The size comes from the disk or another node: no more is set aside than is allowed.
    let size = usize::try_from(u32::from_le_bytes(*size)).ok()?;
    if size > UNPACKED_BYTES_MAX {
        return None;
    }
    String::from_utf8(lz4_flex::block::decompress_size_prepended(block).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: what is packed comes back; what is too large is not kept, and damage gives nothing.
    #[test]
    fn documents_are_packed() {
        let tenant = TenantId::DEFAULT;
        let text = "[[queue]]\nname = \"sales\"\n".repeat(1_000);
        let packed = pack(tenant, &text).expect("small enough");
        assert!(packed.bytes.len() * 20 < text.len(), "{} bytes", packed.bytes.len());
        assert_eq!(unpack(&packed), Some(text));
        let mut noise = String::new();
        let mut seed = 1_u64;
        while noise.len() < 2 * CONFIGURATION_DOCUMENT_BYTES_MAX {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            noise.push(char::from(b'a' + u8::try_from(seed >> 60).expect("four bits")));
        }
        assert_eq!(pack(tenant, &noise), None);
        for bytes in [vec![], vec![2, 0, 0, 0, 0], vec![1, 255, 255, 255, 255, 1], vec![1, 9, 0]] {
            assert_eq!(unpack(&Document { tenant, bytes }), None);
        }
    }
}
