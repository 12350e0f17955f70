//! Errors of the hub client.

use super::address::AddressError;

/// A failed request to the hub.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HubError {
    #[error(transparent)]
    Address(#[from] AddressError),
    /// A failed download; `file` is empty if the client could not be created.
    #[error("{repo}: {file}: {reason}")]
    Fetch { repo: String, file: String, reason: String },
    #[error("cannot upload to {repo}: {reason}")]
    Push { repo: String, reason: String },
    #[error(
        "an upload needs a token, but none was found: create one with write permission at \
         https://huggingface.co/settings/tokens and set HF_TOKEN to it"
    )]
    NoToken,
    #[error(
        "HF_HUB_OFFLINE, TRANSFORMERS_OFFLINE or HF_DATASETS_OFFLINE forbids every request, so nothing can be uploaded: \
         unset it"
    )]
    Offline,
    #[error(
        "{address} is on the Hugging Face hub, and this program was built without it: build with \
         `--features hub`, or download the file and give its path"
    )]
    NotBuilt { address: String },
}

#[cfg(test)]
mod tests {
    use super::HubError;

    #[test]
    fn an_address_without_the_feature_says_how_to_build_and_what_else_helps() {
        let error = HubError::NotBuilt { address: "hf://a/b/c.safetensors@v1".into() };
        assert_eq!(
            error.to_string(),
            "hf://a/b/c.safetensors@v1 is on the Hugging Face hub, and this program was built without it: build with \
             `--features hub`, or download the file and give its path"
        );
    }
}
