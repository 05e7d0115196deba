//! The status page at `/`: the node at a glance, for a browser.
//!
//! `build` gathers a `view` from the roster, `render` writes it. The page is whole without
//! JavaScript; with it, `live.js` fetches the page again and puts what changed in place.

mod build;
mod gpus;
pub mod html;
mod render;
mod sparkline;
mod view;
mod words;

use std::sync::LazyLock;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hyper::HeaderMap;
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use ring::digest::{SHA256, digest};

pub use build::{GpuFacts, NodeFacts, Setting, build};
pub use render::render;

/// Nothing but what is in the page: its style and script by their SHA-256, its picture, and itself
/// once more.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = |text: &str| BASE64_STANDARD.encode(digest(&SHA256, text.as_bytes()));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; img-src data:; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash(render::STYLE),
        hash(render::SCRIPT)
    );
    HeaderValue::from_str(&policy).unwrap_or_else(|_| HeaderValue::from_static("default-src 'none'"))
});

/// The headers that belong to the page.
pub fn guard(headers: &mut HeaderMap) {
    headers.insert(CONTENT_SECURITY_POLICY, POLICY.clone());
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_names_the_style_and_the_script_that_the_page_has() {
        let mut headers = HeaderMap::new();
        guard(&mut headers);
        let policy = headers[CONTENT_SECURITY_POLICY].to_str().expect("text");
        let page = render(&render::tests::plain(&render::tests::trends()));
        for (open, close, directive) in
            [("<style>", "</style>", "style-src"), ("<script>", "</script>", "script-src")]
        {
            let inline: Vec<_> = page.split(open).skip(1).collect();
            assert_eq!(inline.len(), 1, "one {open}");
            let (text, _) = inline[0].split_once(close).expect("its end");
            let hash = BASE64_STANDARD.encode(digest(&SHA256, text.as_bytes()));
            assert!(policy.contains(&format!("{directive} 'sha256-{hash}';")), "{policy}");
        }
        for unsafe_or_foreign in ["unsafe", "http:", "https:", "*"] {
            assert!(!policy.contains(unsafe_or_foreign), "{policy}");
        }
        // SHA-256 of an empty text, from FIPS 180's examples: the hash is the one browsers compute.
        assert_eq!(
            BASE64_STANDARD.encode(digest(&SHA256, b"")),
            "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
        );
    }

    #[test]
    fn nothing_in_the_page_needs_what_the_policy_refuses() {
        let page = render(&render::tests::plain(&render::tests::trends()));
        for refused in [" style=", " onclick=", " onload=", "javascript:", " src=", "@import", "url("] {
            assert!(!page.contains(refused), "{refused}");
        }
    }
}
