//! `file.permalink`: publishes a file at a lasting address, as the vendor's file picker does when a page embeds a picture.
//!
//! It is a call of the file's own download link, on another host than the API: the answer is a line of JSON in place of the
//! bytes. Asking twice at worst leaves a second address to what is public already, so it may be repeated.

use futures::{FutureExt, TryStreamExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use trunkline_core::{Action, ActionEntry, Context, Effect, Error, ErrorKind, Result, async_trait, submit};
use trunkline_rest::{Client, Url, with_deadline};

use crate::{
    Mediaflow,
    may_publish::weigh,
    rendition::{Custom, Rendition},
};

/// The answer is one address; more than this is something else.
const LONGEST: usize = 64 << 10;

/// What else than pictures the vendor's picker publishes in this way: PDF, SVG, fonts.
const TYPES: [i64; 2] = [201, 230];
const EXTENSIONS: [&str; 7] = ["pdf", "svg", "ttf", "otf", "woff", "woff2", "eot"];

/// The action.
pub struct Permalink;

/// What to publish.
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
    /// A picture in a size, a part or a file type of your own, in place of a preset.
    custom: Option<Custom>,
    /// # Publish in spite of reasons against it
    /// Else a file is refused that `file.may_publish` does not allow. Mediaflow may refuse it all the same.
    #[serde(default)]
    force: bool,
}

/// Where everybody can read it now.
#[derive(Serialize, JsonSchema)]
pub struct Output {
    /// # Address
    /// Its extension is that of the file made.
    url: String,
}

#[async_trait]
impl Action for Permalink {
    type Connector = Mediaflow;
    type Input = Input;
    type Output = Output;
    const NAME: &'static str = "file.permalink";
    const TITLE: &'static str = "Publish a file at a lasting address";
    const GROUP: &'static str = "Files";
    const ABOUT: &'static str = "Makes the file public: whoever has the address can read it without signing in, for good, \
        for no call is known that takes it back. Pictures, PDF, SVG and fonts only; again may give another address.";
    const EFFECT: Effect = Effect::Idempotent;

    async fn run(client: &Client, input: Input, cx: &Context) -> Result<Output> {
        let wanted = Rendition::new(input.id, input.format, input.custom)?;
        let (verdict, file) = weigh(client, input.id, cx).await?;
        if !verdict.allowed && !input.force {
            let reasons = verdict.reasons.join(", ");
            return Err(Error::new(
                ErrorKind::Permission,
                format!("file {} may not be published: {reasons}", input.id),
            )
            .with("reasons", reasons)
            .hint("see `file.may_publish`; with `force` it is tried all the same"));
        }
        if !can_be_published(&file) {
            let message = format!("file {} is of a kind that Mediaflow gives no lasting address", input.id);
            return Err(Error::new(ErrorKind::InvalidInput, message)
                .hint("pictures, PDF, SVG and fonts have one; a video is shown by the player, with its `mediaId`"));
        }
        let what = format!("the publishing of file {} (which may be public already)", input.id);
        with_deadline(cx, &what, publish(client, wanted, cx)).await
    }
}

submit! { ActionEntry::of::<Permalink>() }

/// Whether it is of a kind the picker publishes. What does not say its kind is left to Mediaflow.
fn can_be_published(file: &Value) -> bool {
    let Some(kind) = file.get("type").filter(|kind| kind.is_object()) else { return true };
    let extension = kind["extension"].as_str().unwrap_or_default().to_lowercase();
    let id = kind["id"].as_i64();
    kind["type"] == "image" || id.is_some_and(|id| TYPES.contains(&id)) || EXTENSIONS.contains(&&*extension)
}

async fn publish(client: &Client, wanted: Rendition, cx: &Context) -> Result<Output> {
    let (link, within) = (client.clone(), cx.clone());
    let locate = move || {
        let (client, wanted, cx) = (link.clone(), wanted.clone(), within.clone());
        async move {
            let mut url = wanted.link(&client, &cx).await?;
            url.query_pairs_mut().append_pair("permalink", "true");
            Ok(url)
        }
        .boxed()
    };
    let mut answer = client.download(locate, 0).await?;
    let mut body = Vec::new();
    while let Some(part) = answer.bytes.try_next().await? {
        body.extend_from_slice(&part);
        if body.len() > LONGEST {
            break;
        }
    }
    let found: Option<Value> = serde_json::from_slice(&body).ok().filter(|_| body.len() <= LONGEST);
    let url = found.as_ref().and_then(|found| found.get("url")?.as_str()).filter(|url| Url::parse(url).is_ok());
    url.map(|url| Output { url: url.to_owned() }).ok_or_else(|| {
        Error::new(ErrorKind::Unexpected, "Mediaflow answered with something else than a lasting address")
            .hint("it may not offer one for files of this kind; whether anything was published is not known")
    })
}
