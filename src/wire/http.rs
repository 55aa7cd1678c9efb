//! As much of HTTP/1.x as browsers and scrapers need: GET and HEAD, without bodies.

use super::resp::number;

/// The lines of a request together are no longer.
pub const HEAD_BYTES_MAX: usize = 8 << 10;

/// What is wanted of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// What is there.
    Get,
    /// The same without its body.
    Head,
    /// Something else: it is answered with [`Status::MethodNotAllowed`].
    Other,
}

/// A request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// What is wanted.
    pub method: Method,
    /// Of what: all before a question mark.
    pub path: &'a str,
    /// What stands behind the question mark.
    pub query: &'a str,
    /// Whether another request may follow.
    pub keep_alive: bool,
}

/// How a request went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Here it is.
    Ok,
    /// The request cannot be understood.
    BadRequest,
    /// There is no such path.
    NotFound,
    /// There is nothing but GET and HEAD.
    MethodNotAllowed,
    /// The request is too long.
    HeadersTooLarge,
    /// Not now.
    Unavailable,
}

impl Status {
    fn line(self) -> &'static str {
        match self {
            Status::Ok => "200 OK",
            Status::BadRequest => "400 Bad Request",
            Status::NotFound => "404 Not Found",
            Status::MethodNotAllowed => "405 Method Not Allowed",
            Status::HeadersTooLarge => "431 Request Header Fields Too Large",
            Status::Unavailable => "503 Service Unavailable",
        }
    }

    fn headers(self) -> &'static str {
        match self {
            Status::MethodNotAllowed => "Allow: GET, HEAD\r\n",
            Status::Unavailable => "Retry-After: 1\r\n",
            _ => "",
        }
    }
}

/// Takes a request off the front, and says how many bytes it takes up; none if there is not yet all of it.
/// A request that is refused is to be answered and the connection closed.
pub fn parse(bytes: &[u8]) -> Result<Option<(Request<'_>, usize)>, Status> {
    let seen = &bytes[..bytes.len().min(HEAD_BYTES_MAX)];
    let (mut at, mut request) = (0, None);
    loop {
        let Some(length) = seen[at..].iter().position(|byte| *byte == b'\n') else {
            return match seen.len() < HEAD_BYTES_MAX {
                true => Ok(None),
                false => Err(Status::HeadersTooLarge),
            };
        };
        let line = &seen[at..at + length];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        at += length + 1;
        match &mut request {
            // Blank lines before a request are passed over.
            None if line.is_empty() => {}
            None => request = Some(first(line)?),
            Some(request) if line.is_empty() => return Ok(Some((*request, at))),
            Some(request) => header(line, request)?,
        }
    }
}

fn first(line: &[u8]) -> Result<Request<'_>, Status> {
    let line = std::str::from_utf8(line).map_err(|_| Status::BadRequest)?;
    let mut words = line.split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Status::BadRequest);
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    if !path.starts_with('/') || method.is_empty() {
        return Err(Status::BadRequest);
    }
    Ok(Request {
        method: match method {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            _ => Method::Other,
        },
        path,
        query,
        keep_alive: match version {
            "HTTP/1.1" => true,
            "HTTP/1.0" => false,
            _ => return Err(Status::BadRequest),
        },
    })
}

fn header(line: &[u8], request: &mut Request<'_>) -> Result<(), Status> {
    let colon = line.iter().position(|byte| *byte == b':');
    let (name, value) = line.split_at(colon.ok_or(Status::BadRequest)?);
    let value = value[1..].trim_ascii();
    if name.is_empty() || name.iter().any(|byte| byte.is_ascii_whitespace()) {
        return Err(Status::BadRequest);
    }
    if name.eq_ignore_ascii_case(b"connection") {
        let has = |word: &[u8]| {
            let mut words = value.split(|byte| *byte == b',');
            words.any(|given| given.trim_ascii().eq_ignore_ascii_case(word))
        };
        request.keep_alive = (request.keep_alive || has(b"keep-alive")) && !has(b"close");
    }
    // What has a body is refused: its end could be mistaken.
    let has_body = (name.eq_ignore_ascii_case(b"content-length")
        && number::parse(value) != Some(0))
        || name.eq_ignore_ascii_case(b"transfer-encoding");
    match has_body && request.method != Method::Other {
        true => Err(Status::BadRequest),
        false => {
            // Behind a request of another kind nothing is understood.
            request.keep_alive &= !has_body;
            Ok(())
        }
    }
}

/// A response.
#[derive(Clone, Copy, Debug)]
pub struct Response<'a> {
    /// How it went.
    pub status: Status,
    /// What the body is.
    pub content_type: &'static str,
    /// The body.
    pub body: &'a [u8],
}

impl<'a> Response<'a> {
    /// That it went otherwise, in words.
    pub fn refusal(status: Status) -> Response<'a> {
        Response {
            status,
            content_type: "text/plain; charset=utf-8",
            body: status.line().as_bytes(),
        }
    }

    /// Appends the response to a request; without a request, the connection closes behind it.
    pub fn write(&self, request: Option<&Request<'_>>, out: &mut Vec<u8>) {
        let keeps = request.is_some_and(|request| request.keep_alive);
        for text in [
            "HTTP/1.1 ",
            self.status.line(),
            "\r\nContent-Type: ",
            self.content_type,
            "\r\nContent-Length: ",
        ] {
            out.extend_from_slice(text.as_bytes());
        }
        number::put(out, self.body.len() as i64);
        let connection = if keeps { "keep-alive" } else { "close" };
        for text in [
            "\r\nCache-Control: no-store\r\n",
            self.status.headers(),
            "Connection: ",
            connection,
            "\r\n\r\n",
        ] {
            out.extend_from_slice(text.as_bytes());
        }
        if request.is_none_or(|request| request.method != Method::Head) {
            out.extend_from_slice(self.body);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_understood_in_any_pieces() {
        for (text, expected) in [
            (
                "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
                "Get /metrics  true",
            ),
            ("GET /a?b=c HTTP/1.0\n\n", "Get /a b=c false"),
            (
                "\r\nHEAD / HTTP/1.1\r\nConnection: x, Close\r\n\r\n",
                "Head /  false",
            ),
            (
                "GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n",
                "Get /  true",
            ),
            (
                "POST /a HTTP/1.1\r\nContent-Length: 3\r\n\r\n",
                "Other /a  false",
            ),
            ("GET / HTTP/1.1\r\nContent-Length: 3\r\n\r\n", "BadRequest"),
            (
                "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
                "BadRequest",
            ),
            ("GET / HTTP/1.1\r\nno colon\r\n\r\n", "BadRequest"),
            ("GET / HTTP/1.1\r\n folded: x\r\n\r\n", "BadRequest"),
            ("GET http://x/ HTTP/1.1\r\n\r\n", "BadRequest"),
            ("GET /  HTTP/1.1\r\n\r\n", "BadRequest"),
            ("GET / HTTP/2.0\r\n\r\n", "BadRequest"),
        ] {
            let told = match parse(text.as_bytes()) {
                Ok(Some((request, consumed))) => {
                    assert_eq!(consumed, text.len());
                    let Request {
                        method,
                        path,
                        query,
                        keep_alive,
                    } = request;
                    format!("{method:?} {path} {query} {keep_alive}")
                }
                Ok(None) => "more".to_string(),
                Err(status) => format!("{status:?}"),
            };
            assert_eq!(told, expected, "{text:?}");
            for end in 0..text.len() {
                let parsed = parse(&text.as_bytes()[..end]);
                assert!(matches!(parsed, Ok(None)) || expected == "BadRequest");
            }
        }
        let long = [
            b"GET / HTTP/1.1\r\nx: ".to_vec(),
            vec![b'y'; HEAD_BYTES_MAX],
        ]
        .concat();
        assert_eq!(parse(&long), Err(Status::HeadersTooLarge));
    }

    #[test]
    fn responses_are_written() {
        let (request, _) = parse(b"HEAD / HTTP/1.1\r\n\r\n").unwrap().unwrap();
        let mut out = Vec::new();
        Response::refusal(Status::NotFound).write(Some(&request), &mut out);
        Response::refusal(Status::Unavailable).write(None, &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Length: 13\r\nCache-Control: no-store\r\nConnection: keep-alive\r\n\r\n\
             HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Length: 23\r\nCache-Control: no-store\r\nRetry-After: 1\r\n\
             Connection: close\r\n\r\n503 Service Unavailable"
        );
    }
}
