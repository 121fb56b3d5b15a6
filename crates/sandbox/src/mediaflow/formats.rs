//! The formats that files can be downloaded in.

/// A format that files can be downloaded in.
#[derive(Clone, Copy)]
pub(crate) struct Format {
    pub id: i64,
    pub name: &'static str,
    pub suffix: &'static str,
    pub file_type: &'static str,
    pub width: i64,
    pub height: i64,
    pub keep_ratio: bool,
}

/// The formats. Id 0 is the original.
pub(crate) const FORMATS: [Format; 4] = [
    Format { id: 0, name: "Original", suffix: "", file_type: "original", width: -1, height: -1, keep_ratio: true },
    Format { id: -1, name: "Custom", suffix: "_custom", file_type: "jpg", width: 0, height: 0, keep_ratio: false },
    Format { id: 31, name: "Web large", suffix: "_web", file_type: "jpg", width: 1920, height: 0, keep_ratio: true },
    Format {
        id: 32,
        name: "Thumbnail",
        suffix: "_thumb",
        file_type: "jpg",
        width: 320,
        height: 240,
        keep_ratio: false,
    },
];
