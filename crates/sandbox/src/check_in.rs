//! New versions of assets: checked out by one user, sent to a signed URL, checked in by the same user.
//!
//! The reference has no call that gives a check-out back, so there is none here: an asset stays checked out until its
//! check-in.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::App;
use crate::asset::{Asset, CheckOut, MediaFile};
use crate::asset_writes::{change, strings};
use crate::http::Call;
use crate::mediavalet::{Gate, Outcome, Refusal, Reply, page};
use crate::mediavalet_rows::{asset_row, find};
use crate::signature::blob_url;
use crate::uploads::{check_filename, sent, size_member, take_over, upload_row};

/// Reserves an asset. A second check-out is refused, also of the same user.
pub(crate) fn check_out(app: &App, gate: &Gate, id: Uuid, body: &Value) -> Outcome {
    let comment = strings(body)?.join("\n");
    if comment.trim().is_empty() {
        return Err(Refusal::new(400, "A comment is needed"));
    }
    let (file, _) = change(app, id, |asset| {
        let file = asset.current.clone().ok_or_else(|| Refusal::new(400, "The asset is still being uploaded"))?;
        match &asset.checked_out {
            Some(held) => Err(Refusal::new(403, format!("The asset is checked out by {}", held.by))),
            None => {
                asset.checked_out = Some(CheckOut { by: gate.user.clone(), comment });
                Ok(file)
            }
        }
    })?;
    Ok(Reply::new(202, blob_url(app, &format!("/library/{}", file.id), "r").into()))
}

fn check_free(app: &App, id: Uuid, name: &str) -> Result<(), Refusal> {
    check_filename(name)?;
    let same = |asset: &Asset| asset.id != id && asset.is_alive() && asset.filename().eq_ignore_ascii_case(name);
    if app.state.with(|world| world.assets.values().any(same)) {
        return Err(Refusal::new(409, format!("Another asset has the file name {name}")));
    }
    Ok(())
}

pub(crate) fn validate(app: &App, id: Uuid, name: &str) -> Outcome {
    if app.state.with(|world| world.asset(id).is_none_or(|asset| asset.deleted_at.is_some())) {
        return Err(Refusal::not_found("The asset"));
    }
    check_free(app, id, name)?;
    Ok(Reply::new(200, name.into()))
}

fn check_held(gate: &Gate, asset: &Asset) -> Result<(), Refusal> {
    match &asset.checked_out {
        Some(held) if held.by == gate.user => Ok(()),
        Some(held) => Err(Refusal::new(403, format!("The asset is checked out by {}", held.by))),
        None => Err(Refusal::new(403, "The asset is not checked out")),
    }
}

/// Begins a check-in, or begins it anew: what was sent for an earlier beginning is dropped.
pub(crate) fn begin(app: &App, gate: &Gate, id: Uuid) -> Outcome {
    let (file, asset) = change(app, id, |asset| {
        check_held(gate, asset)?;
        let file = MediaFile::new(asset.filename());
        asset.pending = Some(file.clone());
        Ok(file)
    })?;
    Ok(Reply::new(202, upload_row(app, &asset, &file)))
}

/// Makes what was sent the present version, if it has the size that is given.
pub(crate) fn finish(app: &App, gate: &Gate, id: Uuid, body: &Value) -> Outcome {
    let text = |name: &str| body[name].as_str().ok_or_else(|| Refusal::new(400, format!("{name} is needed")));
    let (filename, temporary) = (text("fileName")?, text("uploadFilename")?);
    let size = size_member(body)?.ok_or_else(|| Refusal::new(400, "fileSizeInBytes is needed"))?;
    check_free(app, id, filename)?;
    let arrived = sent(app, id);
    let ((), asset) = change(app, id, |asset| {
        check_held(gate, asset)?;
        let file = asset.pending.as_mut().ok_or_else(|| Refusal::new(400, "The check-in was not begun"))?;
        if file.temporary != temporary {
            return Err(Refusal::new(400, "uploadFilename is not the one that was given"));
        }
        file.filename = filename.to_owned();
        file.size = Some(size);
        take_over(app, asset, arrived)?;
        asset.checked_out = None;
        asset.check_in_comment = body["comment"].as_str().unwrap_or_default().to_owned();
        Ok(())
    })?;
    Ok(Reply::new(202, asset_row(app, gate, &asset, Some(size))))
}

/// All versions, oldest first.
pub(crate) fn versions(app: &App, call: &Call, id: Uuid) -> Outcome {
    let (asset, _) = find(app, call, id)?;
    let files = asset.earlier.iter().chain(&asset.current).enumerate();
    let row = |(at, file): (usize, &MediaFile)| json!({ "id": file.id, "fileName": file.filename, "sizeInBytes": file.size, "version": at + 1 });
    page(call, files.map(row).collect())
}
