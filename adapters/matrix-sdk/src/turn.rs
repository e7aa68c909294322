//! `GET /voip/turnServer` with the answer left as text.
//!
//! The core reads it leniently. ruma's own response type refuses `{}`, by which a homeserver says
//! that it has no TURN server, and a `ttl` with a fraction (`matrix-sdk.md` §7).

use matrix_sdk::ruma::{
    api::{
        IncomingResponse, Metadata, OutgoingRequest,
        auth_scheme::AuthScheme,
        client::voip::get_turn_server_info::v3,
        error::{FromHttpResponseError, IntoHttpError},
        path_builder::PathBuilder,
    },
    exports::{bytes::BufMut, http},
};

/// The request of the specification.
#[derive(Debug, Clone)]
pub(crate) struct TurnRequest;

/// Its answer, as text.
pub(crate) struct TurnAnswer(pub(crate) String);

impl Metadata for TurnRequest {
    const METHOD: http::Method = v3::Request::METHOD;
    const RATE_LIMITED: bool = v3::Request::RATE_LIMITED;
    type Authentication = <v3::Request as Metadata>::Authentication;
    type PathBuilder = <v3::Request as Metadata>::PathBuilder;
    const PATH_BUILDER: Self::PathBuilder = v3::Request::PATH_BUILDER;
}

impl OutgoingRequest for TurnRequest {
    type EndpointError = <v3::Request as OutgoingRequest>::EndpointError;
    type IncomingResponse = TurnAnswer;

    fn try_into_http_request<T: Default + BufMut + AsRef<[u8]>>(
        self,
        base_url: &str,
        authentication: <Self::Authentication as AuthScheme>::Input<'_>,
        path: <Self::PathBuilder as PathBuilder>::Input<'_>,
    ) -> Result<http::Request<T>, IntoHttpError> {
        v3::Request::new().try_into_http_request(base_url, authentication, path)
    }
}

impl IncomingResponse for TurnAnswer {
    type EndpointError = <v3::Request as OutgoingRequest>::EndpointError;

    fn try_from_http_response<T: AsRef<[u8]>>(
        response: http::Response<T>,
    ) -> Result<Self, FromHttpResponseError<Self::EndpointError>> {
        if !response.status().is_success() {
            // Only for its reading of errors.
            v3::Response::try_from_http_response(response)?;
            return Ok(Self(String::new()));
        }
        Ok(Self(String::from_utf8_lossy(response.body().as_ref()).into_owned()))
    }
}
