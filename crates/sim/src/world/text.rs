//! SIP and SDP as text, by hand: what the scripted user agents write and read. Shares no code with
//! `tandem-sip`, so that one mistake does not hide another.

use std::net::SocketAddr;

/// A message, cut into its lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Msg {
    /// Request line or status line.
    pub start: String,
    /// Names and values, in order.
    pub headers: Vec<(String, String)>,
    /// What follows the empty line.
    pub body: String,
}

impl Msg {
    /// Reads a message.
    ///
    /// # Errors
    /// What is missing or wrong, in words.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|e| e.to_string())?;
        let (head, body) = text.split_once("\r\n\r\n").ok_or("no empty line")?;
        let mut lines = head.split("\r\n");
        let start = lines.next().ok_or("no start line")?.to_owned();
        let mut headers = Vec::new();
        for line in lines {
            let (name, value) = line.split_once(':').ok_or(format!("no colon in {line:?}"))?;
            headers.push((name.trim().to_owned(), value.trim().to_owned()));
        }
        let msg = Self { start, headers, body: body.to_owned() };
        let length: usize = msg
            .header("Content-Length")
            .ok_or("no Content-Length")?
            .parse()
            .map_err(|_| "a Content-Length that is no number")?;
        if length != body.len() {
            return Err(format!("Content-Length {length} for {} bytes", body.len()));
        }
        for name in ["Via", "From", "To", "Call-ID", "CSeq"] {
            msg.header(name).ok_or(format!("no {name}"))?;
        }
        Ok(msg)
    }

    /// A message that we wrote ourselves.
    pub(crate) fn own(bytes: &[u8]) -> Self {
        Self::parse(bytes).expect("our own message parses")
    }

    /// True unless it is a response.
    pub fn is_request(&self) -> bool {
        !self.start.starts_with("SIP/2.0 ")
    }

    /// Status of a response.
    pub fn status(&self) -> u16 {
        self.start.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
    }

    /// Method, of the request or of the request that is answered.
    pub fn method(&self) -> String {
        self.cseq().1
    }

    /// Request-URI of a request.
    pub fn uri(&self) -> String {
        self.start.split(' ').nth(1).unwrap_or_default().to_owned()
    }

    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// All headers of this name.
    pub fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> + use<'a> {
        let name = name.to_owned();
        self.headers
            .iter()
            .filter(move |(known, _)| known.eq_ignore_ascii_case(&name))
            .map(|(_, value)| value.as_str())
    }

    /// The first header of this name, or nothing.
    pub fn get(&self, name: &str) -> String {
        self.header(name).unwrap_or_default().to_owned()
    }

    /// Number and method of the CSeq.
    pub fn cseq(&self) -> (u32, String) {
        let value = self.get("CSeq");
        let (number, method) = value.split_once(' ').unwrap_or(("0", ""));
        (number.parse().unwrap_or(0), method.trim().to_owned())
    }

    /// The Call-ID.
    pub fn call_id(&self) -> String {
        self.get("Call-ID")
    }

    /// The tag of the From.
    pub fn tag_of_from(&self) -> String {
        param(&self.get("From"), "tag").unwrap_or_default()
    }

    /// The tag of the To, if it has one.
    pub fn tag_of_to(&self) -> Option<String> {
        param(&self.get("To"), "tag")
    }

    /// Branch of the top Via.
    pub fn branch(&self) -> String {
        param(&self.get("Via"), "branch").unwrap_or_default()
    }

    /// Where a response to this request goes (RFC 3261 section 18.2.2, RFC 3581).
    pub fn reply_to(&self, source: SocketAddr) -> SocketAddr {
        let via = self.get("Via");
        if via.split(';').skip(1).any(|p| p.trim() == "rport" || p.trim().starts_with("rport=")) {
            return source;
        }
        let sent_by = via.split(' ').nth(1).unwrap_or_default();
        let sent_by = sent_by.split(';').next().unwrap_or_default();
        sent_by.parse().unwrap_or(source)
    }

    /// The URI of the Contact.
    pub fn contact(&self) -> Option<String> {
        self.header("Contact").map(address)
    }

    /// The session description, if it has one.
    pub fn sdp(&self) -> Option<Sdp> {
        if self.body.is_empty() { None } else { Sdp::parse(&self.body) }
    }
}

/// A header parameter outside of the angle brackets.
pub fn param(value: &str, name: &str) -> Option<String> {
    let outside = value.rsplit('>').next().unwrap_or(value);
    outside.split(';').skip(1).find_map(|part| {
        let (key, value) = part.split_once('=')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    })
}

/// The URI of a name-addr.
pub fn address(value: &str) -> String {
    match value.split_once('<') {
        Some((_, rest)) => rest.split('>').next().unwrap_or_default().to_owned(),
        None => value.split(';').next().unwrap_or_default().trim().to_owned(),
    }
}

/// The socket of a SIP URI with an address in it.
pub fn socket_of(uri: &str) -> Option<SocketAddr> {
    let rest = uri.split_once(':')?.1;
    let rest = rest.split([';', '?']).next()?;
    let host = rest.rsplit('@').next()?;
    host.parse().ok().or_else(|| format!("{host}:5060").parse().ok())
}

/// Puts a message together; Content-Length is added.
pub fn compose(start: &str, headers: &[(&str, String)], body: &str) -> Vec<u8> {
    let mut text = format!("{start}\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() && !headers.iter().any(|(name, _)| *name == "Content-Type") {
        text.push_str("Content-Type: application/sdp\r\n");
    }
    text.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    text.into_bytes()
}

/// A session description with one audio stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sdp {
    /// First field of `o=`.
    pub username: String,
    /// Session id of `o=`.
    pub session: String,
    /// Version of `o=`.
    pub version: u64,
    /// Address of `o=`.
    pub origin_address: String,
    /// Address of `c=`.
    pub address: String,
    /// Port of `m=audio`.
    pub port: u16,
    /// Payload types.
    pub formats: Vec<u8>,
    /// `sendrecv`, `sendonly`, `recvonly` or `inactive`.
    pub direction: String,
    /// How many `m=` lines there are.
    pub streams: usize,
}

impl Sdp {
    /// Reads a description with at least one audio stream.
    pub fn parse(body: &str) -> Option<Self> {
        let line = |prefix: &str| body.lines().find_map(|line| line.strip_prefix(prefix));
        let origin: Vec<&str> = line("o=")?.split(' ').collect();
        let audio: Vec<&str> = line("m=audio ")?.split(' ').collect();
        let directions = ["sendrecv", "sendonly", "recvonly", "inactive"];
        let direction = body
            .lines()
            .find_map(|line| directions.iter().find(|d| line == format!("a={d}")))
            .unwrap_or(&"sendrecv");
        Some(Self {
            username: origin.first()?.to_string(),
            session: origin.get(1)?.to_string(),
            version: origin.get(2)?.parse().ok()?,
            origin_address: origin.get(5)?.to_string(),
            address: line("c=IN IP4 ")?.to_owned(),
            port: audio.first()?.parse().ok()?,
            formats: audio.iter().skip(2).filter_map(|format| format.parse().ok()).collect(),
            direction: (*direction).to_owned(),
            streams: body.lines().filter(|line| line.starts_with("m=")).count(),
        })
    }

    /// Where audio is wanted.
    pub fn socket(&self) -> SocketAddr {
        format!("{}:{}", self.address, self.port).parse().expect("an address and a port")
    }

    /// As text.
    pub fn compose(&self) -> String {
        let formats: Vec<String> = self.formats.iter().map(u8::to_string).collect();
        let mut text = format!(
            "v=0\r\no={} {} {} IN IP4 {}\r\ns=-\r\nc=IN IP4 {}\r\nt=0 0\r\nm=audio {} RTP/AVP {}\r\n",
            self.username,
            self.session,
            self.version,
            self.origin_address,
            self.address,
            self.port,
            formats.join(" "),
        );
        for format in &self.formats {
            text.push_str(match format {
                0 => "a=rtpmap:0 PCMU/8000\r\n",
                8 => "a=rtpmap:8 PCMA/8000\r\n",
                101 => "a=rtpmap:101 telephone-event/8000\r\n",
                _ => "",
            });
        }
        text.push_str(&format!("a={}\r\n", self.direction));
        text
    }

    /// Everything but the `o=` line.
    pub fn says(&self) -> (String, u16, Vec<u8>, String, usize) {
        let formats = self.formats.clone();
        (self.address.clone(), self.port, formats, self.direction.clone(), self.streams)
    }
}
