//! The shaders of browsers' profiles, for a browser's own compiler.

use std::collections::HashSet;
use std::sync::Arc;

use js_sys::{Object, Reflect};
use shadernet::kernels::{Profile, Spec, compose};
use shadernet::ops;
use wasm_bindgen::prelude::*;

use crate::specs::specs;

/// The profiles that shaders are tested for, without what no browser has.
fn browsers() -> impl Iterator<Item = Profile> {
    let own = |p: Profile| Profile { coop: false, subgroups: false, components: false, broadcasts: None, ..p };
    Profile::all().into_iter().map(own)
}

/// Their names.
#[wasm_bindgen]
pub fn profiles() -> Vec<String> {
    browsers().map(|p| p.name).collect()
}

/// Every shader that any case of any operator chooses on the profile of this name, with the file that it is made of.
#[wasm_bindgen]
pub fn shaders(profile: &str) -> Result<Vec<Object>, JsValue> {
    let found = browsers().find(|p| p.name == profile);
    let profile = Arc::new(found.ok_or_else(|| JsValue::from(format!("there is no profile {profile}")))?);
    let all: HashSet<Arc<Spec>> =
        ops::all().flat_map(|d| (d.cases)()).flat_map(|case| specs(&case, &profile)).collect();
    let one = |spec: &Arc<Spec>| {
        let text = compose(spec).map_err(|e| JsValue::from(format!("{}: {e}", spec.file)))?;
        let object = Object::new();
        Reflect::set(&object, &"file".into(), &spec.file.into())?;
        Reflect::set(&object, &"text".into(), &text.into())?;
        Ok(object)
    };
    all.iter().map(one).collect()
}
