//! Where a resource is.

/// Longest path that is followed, in bytes.
const PATH_BYTES_MAX: usize = 512;

/// Every resource of a service stands below it (DSP0266, 6.2).
const ROOT: &str = "/redfish/";

/// The path of a resource on the service that named it. It cannot name another host, and it can stand in a
/// request line as it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ResourcePath(String);

impl ResourcePath {
    /// The root of every service.
    pub fn service_root() -> Self {
        Self("/redfish/v1/".to_owned())
    }

    /// A path as a document names it: below `/redfish/`, printable ASCII, without fragment and without steps
    /// upwards, at most 512 bytes.
    pub fn parse(text: &str) -> Option<Self> {
        let plain = |byte: u8| byte.is_ascii_graphic() && !b"#\\\"<>^`{|}".contains(&byte);
        let steps = text.split(['/', '?']).any(|segment| matches!(segment, "." | ".."));
        let fine =
            text.len() <= PATH_BYTES_MAX && text.starts_with(ROOT) && text.bytes().all(plain) && !steps;
        fine.then(|| Self(text.to_owned()))
    }

    /// The path.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its last segment: what the resource is called in its collection.
    pub fn name(&self) -> &str {
        self.0.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
    }

    /// Whether it is one of the actions of that resource.
    pub fn is_action_of(&self, resource: &Self) -> bool {
        let rest = self.0.strip_prefix(resource.0.trim_end_matches('/'));
        rest.is_some_and(|rest| rest.starts_with("/Actions/"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_on_the_service() {
        for fine in ["/redfish/v1/", "/redfish/v1/Managers/BMC_0", "/redfish/v1/Systems?$skip=50"] {
            assert_eq!(ResourcePath::parse(fine).map(|path| path.0).as_deref(), Some(fine));
        }
        for wrong in [
            "",
            "/",
            "//other.example/redfish/v1/",
            "https://other.example/redfish/v1/",
            "/redfish/../admin",
            "/redfish/v1/./x",
            "/redfish/v1/a b",
            "/redfish/v1/a\r\nX: y",
            "/redfish/v1/a#b",
            "/redfish/v1/\u{e4}",
            "/api/login",
        ] {
            assert_eq!(ResourcePath::parse(wrong), None, "{wrong:?}");
        }
        assert!(ResourcePath::parse(&format!("/redfish/{}", "x".repeat(PATH_BYTES_MAX))).is_none());
    }

    #[test]
    fn names_and_actions() {
        let path = |text| ResourcePath::parse(text).expect("path");
        let component = path("/redfish/v1/ComponentIntegrity/GPU_0/");
        assert_eq!(component.name(), "GPU_0");
        assert!(path("/redfish/v1/ComponentIntegrity/GPU_0/Actions/X.Y").is_action_of(&component));
        assert!(!path("/redfish/v1/ComponentIntegrity/GPU_01/Actions/X.Y").is_action_of(&component));
        assert!(!path("/redfish/v1/Managers/1/Actions/Manager.Reset").is_action_of(&component));
    }
}
