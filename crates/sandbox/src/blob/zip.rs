//! Zip archives without compression (PKWARE APPNOTE.TXT), the form of a package of assets.

/// Returns an archive of the files. Their names have to be unique, and their sizes have to fit into 32 bits.
pub(crate) fn stored(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    /// 1 January 1980, the earliest date the format has.
    const DATE: u16 = 0x21;
    /// File names are in UTF-8.
    const FLAGS: u16 = 1 << 11;
    let mut archive = Vec::new();
    let mut directory = Vec::new();
    let length = |value: usize| u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes();
    let count = |value: usize| u16::try_from(value).unwrap_or(u16::MAX).to_le_bytes();
    for (name, bytes) in files {
        let offset = length(archive.len());
        // Version needed, flags, method, time, date, CRC-32, both sizes, lengths of the name and of the extra field.
        let mut fields = Vec::new();
        for field in [20, FLAGS, 0, 0, DATE] {
            fields.extend_from_slice(&field.to_le_bytes());
        }
        fields.extend_from_slice(&crc32fast::hash(bytes).to_le_bytes());
        fields.extend_from_slice(&length(bytes.len()));
        fields.extend_from_slice(&length(bytes.len()));
        fields.extend_from_slice(&count(name.len()));
        fields.extend_from_slice(&[0; 2]);
        archive.extend_from_slice(b"PK\x03\x04");
        archive.extend_from_slice(&fields);
        archive.extend_from_slice(name.as_bytes());
        archive.extend_from_slice(bytes);
        directory.extend_from_slice(b"PK\x01\x02\x14\x00");
        directory.extend_from_slice(&fields);
        // Length of the comment, number of the disk, internal and external attributes.
        directory.extend_from_slice(&[0; 10]);
        directory.extend_from_slice(&offset);
        directory.extend_from_slice(name.as_bytes());
    }
    let (start, size) = (length(archive.len()), length(directory.len()));
    archive.append(&mut directory);
    archive.extend_from_slice(b"PK\x05\x06\0\0\0\0");
    archive.extend_from_slice(&count(files.len()));
    archive.extend_from_slice(&count(files.len()));
    archive.extend_from_slice(&size);
    archive.extend_from_slice(&start);
    archive.extend_from_slice(&[0; 2]);
    archive
}
