//! Forms with a file in them (`multipart/form-data`, RFC 7578).

use bytes::Bytes;
use data_encoding::HEXLOWER;

/// A form with a file in it.
#[derive(Clone, Debug)]
pub(crate) struct FormFile {
    /// Name of the field that takes the file.
    pub(crate) field: String,
    /// The other fields. They come before the file.
    pub(crate) fields: Vec<(String, String)>,
}

/// What is sent around the bytes of the file.
pub(crate) struct Frame {
    /// The media type of the whole body.
    pub(crate) content_type: String,
    /// The bytes before the file.
    pub(crate) head: Bytes,
    /// The bytes after it.
    pub(crate) tail: Bytes,
}

impl FormFile {
    /// Returns what is sent around a file of this name and media type.
    pub(crate) fn frame(&self, file_name: &str, media_type: &str) -> Frame {
        // 128 random bits: the file does not have them in it.
        self.frame_with(&HEXLOWER.encode(&rand::random::<[u8; 16]>()), file_name, media_type)
    }

    fn frame_with(&self, boundary: &str, file_name: &str, media_type: &str) -> Frame {
        let mut head = String::new();
        for (name, value) in &self.fields {
            let name = quoted(name);
            head += &format!("--{boundary}\r\nContent-Disposition: form-data; name={name}\r\n\r\n{value}\r\n");
        }
        let (field, file_name) = (quoted(&self.field), quoted(file_name));
        head += &format!("--{boundary}\r\nContent-Disposition: form-data; name={field}; filename={file_name}\r\n");
        head += &format!("Content-Type: {media_type}\r\n\r\n");
        Frame {
            content_type: format!("multipart/form-data; boundary={boundary}"),
            head: head.into(),
            tail: format!("\r\n--{boundary}--\r\n").into(),
        }
    }
}

/// Returns a name as a quoted string. Line breaks, which would end the header, are encoded as browsers encode them.
fn quoted(name: &str) -> String {
    let mut quoted = String::from("\"");
    for c in name.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\r' => quoted += "%0D",
            '\n' => quoted += "%0A",
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_header() {
        let form = FormFile { field: "fi\"le".into(), fields: vec![("a\r\nb".into(), "1\r\n2".into())] };
        let frame = form.frame_with("x", "größe\n\\.jpg", "image/jpeg");
        assert_eq!(frame.content_type, "multipart/form-data; boundary=x");
        let expected = "--x\r\nContent-Disposition: form-data; name=\"a%0D%0Ab\"\r\n\r\n1\r\n2\r\n--x\r\n\
            Content-Disposition: form-data; name=\"fi\\\"le\"; filename=\"größe%0A\\\\.jpg\"\r\n\
            Content-Type: image/jpeg\r\n\r\n";
        assert_eq!(String::from_utf8(frame.head.to_vec()).unwrap(), expected);
        assert_eq!(frame.tail, "\r\n--x--\r\n");
        assert_ne!(form.frame("a", "b").content_type, form.frame("a", "b").content_type);
    }
}
