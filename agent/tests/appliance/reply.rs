//! An answer of the REST door, as `curl` saw it.

use upgrade_agent::door::view::Problem;

/// What the service answered to `curl`.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) kind: String,
    pub(crate) body: String,
}

impl Reply {
    /// It is a problem with this status and code, told as RFC 9457 wants it.
    #[track_caller]
    pub(crate) fn is_problem(&self, status: u16, code: &str) -> Problem {
        let problem: Problem =
            serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"));
        assert_eq!((self.status, problem.status), (status, status), "{self:?}");
        assert_eq!((self.kind.as_str(), problem.code.as_str()), ("application/problem+json", code));
        assert!(!problem.detail.is_empty());
        problem
    }

    #[track_caller]
    pub(crate) fn json<T: serde::de::DeserializeOwned>(&self, status: u16) -> T {
        assert_eq!((self.status, self.kind.as_str()), (status, "application/json"), "{self:?}");
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}
