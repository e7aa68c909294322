//! Requests that ruma has no type for, or whose answers it reads too strictly: path, query and body
//! as text, and the answer as it came.
//!
//! An answer with a 4xx status is an answer: its body may say more than an error of ruma's keeps. Only
//! what any request may meet is an error: a lost login, a rate limit, a server that fails.

use std::{fmt, marker::PhantomData};

use matrix_sdk::ruma::{
    api::{
        IncomingResponse, Metadata, OutgoingRequest,
        auth_scheme::{AccessToken, AuthScheme},
        error::{Error, FromHttpResponseError, IntoHttpError},
        path_builder::{PathBuilder, SinglePath},
    },
    exports::{
        bytes::BufMut,
        http::{Method, Request, Response, StatusCode, header},
        serde_html_form,
    },
};
use matrix_voip::machine::io::Fault;
use serde_json::Value;

/// What is asked for.
pub(crate) trait Endpoint: Clone + Send + Sync + 'static {
    /// The method.
    const METHOD: Method;
    /// The path, with a name in braces for each argument.
    const PATH: &'static str;
}

/// A request.
#[derive(Clone)]
pub(crate) struct Call<E> {
    arguments: Vec<String>,
    query: Vec<(&'static str, String)>,
    body: Option<String>,
    endpoint: PhantomData<E>,
}

impl<E> Call<E> {
    /// A request with these arguments of the path: as many as that has names.
    pub(crate) fn new<const N: usize>(arguments: [&str; N]) -> Self {
        let arguments = arguments.map(str::to_owned).into();
        Self { arguments, query: Vec::new(), body: None, endpoint: PhantomData }
    }

    pub(crate) fn query(mut self, name: &'static str, value: String) -> Self {
        self.query.push((name, value));
        self
    }

    /// With this JSON text.
    pub(crate) fn body(self, json: String) -> Self {
        Self { body: Some(json), ..self }
    }
}

/// Without the arguments: the id of a delayed event is as good as a password.
impl<E: Endpoint> fmt::Debug for Call<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", E::METHOD, E::PATH)
    }
}

impl<E: Endpoint> Metadata for Call<E> {
    const METHOD: Method = E::METHOD;
    const RATE_LIMITED: bool = true;
    type Authentication = AccessToken;
    type PathBuilder = SinglePath;
    const PATH_BUILDER: SinglePath = SinglePath::new(E::PATH);
}

impl<E: Endpoint> OutgoingRequest for Call<E> {
    type EndpointError = Error;
    type IncomingResponse = Answer;

    fn try_into_http_request<T: Default + BufMut + AsRef<[u8]>>(
        self,
        base_url: &str,
        authentication: <AccessToken as AuthScheme>::Input<'_>,
        path: <SinglePath as PathBuilder>::Input<'_>,
    ) -> Result<Request<T>, IntoHttpError> {
        let arguments: Vec<&dyn fmt::Display> =
            self.arguments.iter().map(|argument| argument as _).collect();
        let query = serde_html_form::to_string(&self.query)?;
        let url = Self::PATH_BUILDER.make_endpoint_url(path, base_url, &arguments, &query)?;
        let mut request = Request::builder().method(E::METHOD).uri(url);
        let mut body = T::default();
        if let Some(json) = self.body {
            request = request.header(header::CONTENT_TYPE, "application/json");
            body.put_slice(json.as_bytes());
        }
        let mut request = request.body(body)?;
        AccessToken::add_authentication(&mut request, authentication)
            .map_err(|error| IntoHttpError::Authentication(error.into()))?;
        Ok(request)
    }
}

/// What the homeserver says.
#[derive(Debug)]
pub(crate) enum Answer {
    /// It has done so; with this body.
    Accepted(String),
    /// It has not.
    Refused(Refusal),
}

/// Why not.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    body: Value,
}

impl Refusal {
    /// An error code, under this name.
    pub(crate) fn code(&self, name: &str) -> Option<&str> {
        self.body.get(name)?.as_str()
    }

    /// As of any request.
    pub(crate) fn fault(&self) -> Fault {
        match self.code("errcode") {
            Some("M_NOT_FOUND") => Fault::NotFound,
            Some(code) => Fault::Forbidden(code.to_owned()),
            None => Fault::Failed(format!("status {}", self.status)),
        }
    }
}

impl Answer {
    /// The body; or what speaks against it, by this reading.
    pub(crate) fn body(self, fault: impl FnOnce(&Refusal) -> Fault) -> Result<String, Fault> {
        match self {
            Self::Accepted(body) => Ok(body),
            Self::Refused(refusal) => Err(fault(&refusal)),
        }
    }
}

impl IncomingResponse for Answer {
    type EndpointError = Error;

    fn try_from_http_response<T: AsRef<[u8]>>(
        response: Response<T>,
    ) -> Result<Self, FromHttpResponseError<Error>> {
        let status = response.status();
        let body = response.body().as_ref();
        if status.is_success() {
            return Ok(Self::Accepted(String::from_utf8_lossy(body).into_owned()));
        }
        let concerns_all = [StatusCode::UNAUTHORIZED, StatusCode::TOO_MANY_REQUESTS];
        if !status.is_client_error() || concerns_all.contains(&status) {
            let error =
                <Error as matrix_sdk::ruma::api::EndpointError>::from_http_response(response);
            return Err(FromHttpResponseError::Server(error));
        }
        let body = serde_json::from_slice(body).unwrap_or_default();
        Ok(Self::Refused(Refusal { status: status.as_u16(), body }))
    }
}
