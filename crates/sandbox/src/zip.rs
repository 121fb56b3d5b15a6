//! A zip archive without compression, as PKWARE's APPNOTE has it: what a package of assets is.

/// The archive of some files. Names of files are unique; sizes fit into 32 bits.
pub(crate) fn stored(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    /// 1 January 1980, the beginning of time here.
    const DATE: u16 = 0x21;
    /// Names are UTF-8.
    const FLAGS: u16 = 1 << 11;
    let mut archive = Vec::new();
    let mut directory = Vec::new();
    let length = |value: usize| u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes();
    let count = |value: usize| u16::try_from(value).unwrap_or(u16::MAX).to_le_bytes();
    for (name, bytes) in files {
        let offset = length(archive.len());
        // Version needed, flags, method, time, date, checksum, both sizes, lengths of the name and of what follows it.
        let mut facts = Vec::new();
        for fact in [20, FLAGS, 0, 0, DATE] {
            facts.extend_from_slice(&fact.to_le_bytes());
        }
        facts.extend_from_slice(&crc32fast::hash(bytes).to_le_bytes());
        facts.extend_from_slice(&length(bytes.len()));
        facts.extend_from_slice(&length(bytes.len()));
        facts.extend_from_slice(&count(name.len()));
        facts.extend_from_slice(&[0; 2]);
        archive.extend_from_slice(b"PK\x03\x04");
        archive.extend_from_slice(&facts);
        archive.extend_from_slice(name.as_bytes());
        archive.extend_from_slice(bytes);
        directory.extend_from_slice(b"PK\x01\x02\x14\x00");
        directory.extend_from_slice(&facts);
        // Length of the comment, number of the disk, attributes inside and outside.
        directory.extend_from_slice(&[0; 10]);
        directory.extend_from_slice(&offset);
        directory.extend_from_slice(name.as_bytes());
    }
    let (begin, size) = (length(archive.len()), length(directory.len()));
    archive.append(&mut directory);
    archive.extend_from_slice(b"PK\x05\x06\0\0\0\0");
    archive.extend_from_slice(&count(files.len()));
    archive.extend_from_slice(&count(files.len()));
    archive.extend_from_slice(&size);
    archive.extend_from_slice(&begin);
    archive.extend_from_slice(&[0; 2]);
    archive
}
