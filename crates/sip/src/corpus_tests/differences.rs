//! Where other parsers differ from ours on the corpus, and why ours is kept.

use super::differential::Difference::{self, Accepts, Field, Refuses};

/// Messages with one kind of difference and one reason.
pub(super) struct Known {
    pub(super) differences: &'static [Difference],
    pub(super) reason: &'static str,
    pub(super) messages: &'static [&'static str],
}

const fn known(
    differences: &'static [Difference],
    reason: &'static str,
    messages: &'static [&'static str],
) -> Known {
    Known { differences, reason, messages }
}

/// ezk-sip-types 0.6.5.
pub(super) const EZK: &[Known] = &[
    known(
        &[Accepts],
        "it checks no single-value headers: RFC 4475 sections 3.3.8 and 3.3.9 ask for a 400",
        &[
            "invalid/repeated-call-id",
            "invalid/repeated-content-length",
            "invalid/repeated-cseq",
            "invalid/repeated-from",
            "invalid/repeated-max-forwards",
            "invalid/repeated-to",
        ],
    ),
    known(
        &[Accepts],
        "it leaves CSeq, Max-Forwards and Call-ID to its user: RFC 3261 sections 8.1.1.5, 20.8, 20.16, 20.22",
        &[
            "invalid/call-id-blank",
            "invalid/call-id-empty",
            "invalid/cseq-no-blank",
            "invalid/cseq-other-case",
            "invalid/cseq-other-method",
            "invalid/cseq-too-large",
            "invalid/max-forwards-256",
            "invalid/max-forwards-word",
        ],
    ),
    known(
        &[Accepts],
        "it stops where a value ends to make sense and drops the rest without a word",
        &[
            "invalid/from-bare-comma",
            "invalid/from-empty-tag",
            "invalid/from-extra-separators",
            "invalid/from-open-quote",
            "invalid/from-quoted-tag",
            "invalid/from-two-addresses",
            "invalid/from-uri-headers-bare",
            "invalid/via-empty-branch",
            "invalid/via-extra-separators",
            "invalid/via-open-quote",
            "invalid/via-second-broken",
            "invalid/via-trailing-comma",
        ],
    ),
    known(
        &[Accepts],
        "it takes lines and parameters that the grammar has not: RFC 3261 sections 7.1, 7.3.1, 19.1.1, 25.1",
        &[
            "invalid/bare-line-feed",
            "invalid/from-control-byte",
            "invalid/from-two-tags",
            "invalid/header-without-name",
            "invalid/request-line-tab",
            "invalid/request-line-two-blanks",
            "invalid/request-uri-bad-escape",
            "invalid/request-uri-repeated-parameter",
            "invalid/request-uri-with-blank",
            "invalid/response-code-700",
            "invalid/response-code-99",
            "invalid/response-code-two-digits",
            "invalid/to-utf8-uri",
        ],
    ),
    known(
        &[Accepts],
        "it has no limits",
        &[
            "invalid/header-too-long",
            "invalid/request-uri-too-long",
            "invalid/too-many-headers",
            "invalid/too-many-parameters",
            "invalid/too-many-vias",
        ],
    ),
    known(
        &[Refuses],
        "it knows sip: and sips: only; carriers send tel:, and a 416 needs the rest to be read",
        &[
            "valid/tel-in-from",
            "valid/unknown-schemes-in-from-and-to",
            "valid/uri-beep-scheme",
            "valid/uri-tel",
            "valid/uri-unknown-scheme",
            "valid/uri-urn",
        ],
    ),
    known(
        &[Refuses],
        "RFC 3261 sections 7.1 (version without case), 7.5 (leading line breaks), 25.1 (escaped quotes)",
        &["valid/leading-line-breaks", "valid/lower-case-version", "valid/name-quoted-separators"],
    ),
    known(
        &[Refuses],
        "outside of the grammar, but carriers and old phones send it",
        &["valid/name-latin1", "valid/uri-hash-in-user", "valid/uri-underscore-host"],
    ),
    known(
        &[Field("via.branch"), Field("via.port")],
        "it does not read blanks around the colon of sent-by (section 25.1, COLON)",
        &["valid/blanks-around-separators"],
    ),
    known(
        &[Field("cseq"), Field("start")],
        "methods compare with case (section 7.1): `invite` is not INVITE",
        &["valid/method-lower-case"],
    ),
    known(
        &[Field("from.tag")],
        "parameter names compare without case (section 7.3.1)",
        &["valid/tag-among-others"],
    ),
    known(
        &[Field("via.branch")],
        "it cuts the branch at the first byte that is no token; we echo what came",
        &["valid/via-odd-branch"],
    ),
];

/// rsip 0.4.0.
pub(super) const RSIP: &[Known] = &[
    known(
        &[Refuses],
        "compact names, folds, blanks around separators (RFC 3261 sections 7.3.1, 7.3.3, 25.1)",
        &[
            "valid/blanks-around-separators",
            "valid/blanks-before-colon",
            "valid/compact-names",
            "valid/folded-lines",
            "valid/trailing-blanks",
            "valid/vias-folded-in-list",
        ],
    ),
    known(
        &[Refuses],
        "IPv6 (RFC 5118)",
        &[
            "valid/uri-ipv6",
            "valid/uri-ipv6-mapped",
            "valid/uri-ipv6-port",
            "valid/uri-ipv6-port-lookalike",
            "valid/via-ipv6",
            "valid/via-ipv6-port",
            "valid/via-ipv6-received",
            "valid/via-ipv6-received-bare",
        ],
    ),
    known(
        &[Refuses],
        "unknown methods, transports and schemes, so that nobody can be answered 405, 416 or 501",
        &[
            "valid/method-odd-token",
            "valid/method-unknown",
            "valid/tel-in-from",
            "valid/unknown-schemes-in-from-and-to",
            "valid/uri-tel",
            "valid/uri-unknown-scheme",
            "valid/uri-urn",
            "valid/via-unknown-transport",
        ],
    ),
    known(
        &[Refuses],
        "quoted names with separators, escapes and 8-bit bytes; user parts with semicolons",
        &[
            "valid/name-latin1",
            "valid/name-quoted-separators",
            "valid/name-quoted-uri",
            "valid/uri-odd-user-bytes",
            "valid/uri-semicolon-in-user",
        ],
    ),
    known(
        &[Refuses],
        "RFC 3261 sections 7.1, 7.3.1, 7.5 and an empty phrase without its blank",
        &[
            "valid/leading-line-breaks",
            "valid/lower-case-version",
            "valid/response-no-phrase-no-blank",
            "valid/tag-among-others",
        ],
    ),
    known(
        &[Field("vias")],
        "several values in one line count as one: responses would go astray",
        &["valid/response-several-vias", "valid/vias-in-one-line"],
    ),
    known(
        &[Field("via.branch")],
        "what stands behind a quoted or odd parameter is lost, the branch with it",
        &["valid/via-odd-branch", "valid/via-quoted-parameter"],
    ),
    known(
        &[Field("uri.host")],
        "the host swallows what follows, or the scheme",
        &["valid/uri-beep-scheme", "valid/uri-headers"],
    ),
    known(
        &[Field("body")],
        "bytes behind Content-Length stay in the body (section 18.3)",
        &["valid/bytes-behind-content-length"],
    ),
    known(
        &[Field("cseq"), Field("start")],
        "methods compare with case (section 7.1): `invite` is not INVITE",
        &["valid/method-lower-case"],
    ),
    known(
        &[Accepts],
        "lengths, sequence numbers, repeated and mandatory values are not checked",
        &[
            "invalid/call-id-blank",
            "invalid/call-id-empty",
            "invalid/content-length-negative",
            "invalid/content-length-overflow",
            "invalid/content-length-too-large",
            "invalid/content-length-two-numbers",
            "invalid/cseq-other-case",
            "invalid/cseq-other-method",
            "invalid/cseq-too-large",
            "invalid/max-forwards-256",
            "invalid/max-forwards-word",
            "invalid/repeated-call-id",
            "invalid/repeated-content-length",
            "invalid/repeated-cseq",
            "invalid/repeated-from",
            "invalid/repeated-max-forwards",
            "invalid/repeated-to",
            "invalid/response-truncated",
        ],
    ),
    known(
        &[Accepts],
        "values that break their grammar are cut, trimmed or kept as host names",
        &[
            "invalid/from-bare-comma",
            "invalid/from-control-byte",
            "invalid/from-empty-tag",
            "invalid/from-extra-separators",
            "invalid/from-open-quote",
            "invalid/from-two-tags",
            "invalid/from-uri-headers-bare",
            "invalid/request-line-two-blanks",
            "invalid/request-uri-bad-escape",
            "invalid/request-uri-in-brackets",
            "invalid/request-uri-no-scheme",
            "invalid/request-uri-repeated-parameter",
            "invalid/response-code-700",
            "invalid/response-code-99",
            "invalid/to-blanks-in-brackets",
            "invalid/to-utf8-uri",
            "invalid/version-1",
            "invalid/via-empty-branch",
            "invalid/via-extra-separators",
            "invalid/via-open-quote",
            "invalid/via-second-broken",
            "invalid/via-trailing-comma",
        ],
    ),
    known(
        &[Accepts],
        "it has no limits",
        &[
            "invalid/header-too-long",
            "invalid/request-uri-too-long",
            "invalid/too-many-headers",
            "invalid/too-many-parameters",
            "invalid/too-many-vias",
        ],
    ),
];
