//! `file.permalink`: publishes a file at a permanent URL, as Mediaflow's file picker does when a page embeds a picture.
//!
//! The action calls the file's download link, which is on another host than the API, with a parameter that returns one
//! line of JSON instead of the bytes. The call may be repeated: in the worst case it makes a second URL of a file that
//! is already public.

use futures::{FutureExt, TryStreamExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use trunkline_core::{
    Action, ActionEntry, Context, Effect, Error, ErrorKind, RepeatedMember, Result, async_trait, read_json, submit,
};
use trunkline_rest::{Client, Url, with_deadline};

use crate::{
    Mediaflow,
    actions::may_publish::check,
    files::{Custom, Rendition},
};

/// The maximum size of the response in bytes. It has a single URL, so a longer one is not the expected response.
const MAX_RESPONSE: usize = 64 << 10;

/// The file types that Mediaflow's picker publishes in addition to pictures: PDF, SVG and fonts.
const TYPES: [i64; 2] = [201, 230];
const EXTENSIONS: [&str; 7] = ["pdf", "svg", "ttf", "otf", "woff", "woff2", "eot"];

/// The action `file.permalink`.
pub struct Permalink;

/// The file to publish, and its format.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// # File
    /// Id of the file; may be negative.
    id: i64,
    /// # Format
    /// 0 for the original, else the id of a preset from `format.list`.
    #[serde(default)]
    format: i64,
    /// # Custom size
    /// A custom size, crop or file type of a picture, instead of a preset.
    custom: Option<Custom>,
    /// # Publish in spite of reasons against it
    /// If off, a file that `file.may_publish` does not allow is not published. If on, Mediaflow may still refuse it.
    #[serde(default)]
    force: bool,
}

/// The public URL.
#[derive(Serialize, JsonSchema)]
pub struct Output {
    /// # URL
    /// The permanent URL. Its extension is that of the published format.
    url: String,
}

#[async_trait]
impl Action for Permalink {
    type Connector = Mediaflow;
    type Input = Input;
    type Output = Output;
    const NAME: &'static str = "file.permalink";
    const TITLE: &'static str = "Publish a file at a permanent URL";
    const GROUP: &'static str = "Files";
    const ABOUT: &'static str = "Makes the file public: anyone with the URL can read it without signing in. No call is \
        known that undoes this. Pictures, PDF, SVG and fonts only. A second call may return another URL.";
    const EFFECT: Effect = Effect::Idempotent;

    async fn run(client: &Client, input: Input, cx: &Context) -> Result<Output> {
        let wanted = Rendition::new(input.id, input.format, input.custom)?;
        let checked = check(client, input.id, cx).await?;
        if !checked.result.allowed && !input.force {
            let reasons = checked.result.reasons.join(", ");
            let message = format!("file {} may not be published: {reasons}", input.id);
            return Err(Error::new(ErrorKind::Permission, message)
                .with("reasons", reasons)
                .hint("`file.may_publish` explains the reasons; set `force` to publish the file in spite of them"));
        }
        if !can_be_published(&checked.file) {
            let message = format!("file {} is of a type that Mediaflow does not publish at a permanent URL", input.id);
            return Err(Error::new(ErrorKind::InvalidInput, message).hint(
                "pictures, PDF, SVG and fonts can be published; embed a video with the player and its `mediaId`",
            ));
        }
        let what = format!("the publishing of file {} (which may be public already)", input.id);
        with_deadline(cx, &what, publish(client, wanted, cx)).await
    }
}

submit! { ActionEntry::of::<Permalink>() }

/// Returns whether the file is of a type that Mediaflow's picker publishes. If the type is not known, Mediaflow
/// decides.
fn can_be_published(file: &Value) -> bool {
    let Some(kind) = file.get("type").filter(|kind| kind.is_object()) else { return true };
    let extension = kind["extension"].as_str().unwrap_or_default().to_lowercase();
    let id = kind["id"].as_i64();
    kind["type"] == "image" || id.is_some_and(|id| TYPES.contains(&id)) || EXTENSIONS.contains(&&*extension)
}

/// Calls the download link with the parameter that publishes the file, and reads the URL from the response.
async fn publish(client: &Client, wanted: Rendition, cx: &Context) -> Result<Output> {
    let link_client = client.clone();
    let locate = move |cx: Context| {
        let (client, wanted) = (link_client.clone(), wanted.clone());
        async move {
            let mut url = wanted.link(&client, &cx).await?;
            url.query_pairs_mut().append_pair("permalink", "true");
            Ok(url)
        }
        .boxed()
    };
    let mut response = client.download(locate, 0, cx).await?;
    let mut body = Vec::new();
    while let Some(chunk) = response.bytes.try_next().await? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_RESPONSE {
            break;
        }
    }
    let response: Option<Value> =
        read_json(&body, RepeatedMember::AcceptedIfEqual).ok().filter(|_| body.len() <= MAX_RESPONSE);
    let url = response.as_ref().and_then(|json| json.get("url")?.as_str()).filter(|url| Url::parse(url).is_ok());
    url.map(|url| Output { url: url.to_owned() }).ok_or_else(|| {
        Error::new(ErrorKind::Unexpected, "Mediaflow's response does not have a permanent URL")
            .hint("files of this type may not have one; it is not known whether the file was published")
    })
}
