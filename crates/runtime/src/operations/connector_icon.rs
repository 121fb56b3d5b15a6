//! The icons of connectors: the letters of their titles on a colour of their own. The logos of vendors are theirs.

use trunkline_core::Result;

use super::{catalogue::ConnectorName, operation_table};
use crate::Runtime;

operation_table! {
    /// Returns the icon of a connector, as SVG.
    GetConnectorIcon: "connectors.get_icon", get_icon(ConnectorName) -> String, Viewer, Read;
}

async fn get_icon(runtime: &Runtime, input: ConnectorName) -> Result<String> {
    let registered = runtime.registry().connector(&input.name)?;
    Ok(icon(&registered.spec().name, &registered.spec().title))
}

/// Returns a square of 64 units with two letters. Only letters and digits of the title come into it.
fn icon(name: &str, title: &str) -> String {
    let capitals: Vec<char> = title.chars().filter(|letter| letter.is_uppercase()).collect();
    let letters: Vec<char> = match capitals.len() {
        2.. => capitals,
        _ => title.chars().filter(|letter| letter.is_alphanumeric()).collect(),
    };
    let letters: String = letters.iter().take(2).collect();
    // The same name has the same colour everywhere. It is dark enough for white letters.
    let hue = name.bytes().fold(7_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into())) % 360;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 64 64\" role=\"img\" aria-label=\"{letters}\">\
         <rect width=\"64\" height=\"64\" rx=\"14\" fill=\"hsl({hue} 60% 30%)\"/>\
         <text x=\"32\" y=\"42\" fill=\"#fff\" font-family=\"system-ui, sans-serif\" font-size=\"28\" \
         font-weight=\"600\" text-anchor=\"middle\">{letters}</text></svg>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_icon_has_letters_of_the_title_and_nothing_else_of_it() {
        for (title, letters) in
            [("MediaValet", "MV"), ("Mediaflow", "Me"), ("HTTP", "HT"), ("<script>\"&'", "sc"), ("", "")]
        {
            let drawn = icon("shop", title);
            assert!(drawn.contains(&format!(">{letters}</text>")), "{title}: {drawn}");
            assert!(!drawn.contains("script") && drawn.matches('<').count() == 5, "{drawn}");
        }
    }
}
