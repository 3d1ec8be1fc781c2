//! Character sets by what their multi-byte characters may hide.

/// Character sets by what their multi-byte characters may hide from a reader of bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CharsetFamily {
    /// utf8mb3, utf8mb4: no byte of a multi-byte character is below 0x80, and every byte from 0x80 on is a letter.
    Utf8,
    /// Single-byte sets that keep ASCII, and the EUC sets (ujis, eucjpms, euckr, gb2312). No multi-byte character holds
    /// a quote or a backslash; but outside quotes a byte from 0x80 on may be a letter, a blank (0xA0 in latin1) or a
    /// control character, so nothing is proven of a statement that has one there.
    AsciiSafe,
    /// gbk: the second byte may be a backslash, a backtick or a letter.
    Gbk,
    /// big5: as gbk.
    Big5,
    /// sjis, cp932: as gbk.
    Sjis,
    /// gb18030: as gbk, and characters of four bytes.
    Gb18030,
    /// Not known, or not ASCII (swe7). A statement that has any byte from 0x80 on proves nothing, nor does one that has
    /// one of `[ \ ] ^ { } ~` outside quotes, which are letters in swe7. Anything else is proven as usual: a character
    /// set whose characters are wider than one byte (ucs2, utf16, utf32) cannot be `character_set_client`
    /// (<https://dev.mysql.com/doc/refman/8.4/en/charset-connection.html>), and all the others are ASCII below 0x80 as
    /// long as no byte from 0x80 on came before.
    Unknown,
}

impl CharsetFamily {
    /// The family of a character set by its name, as `character_set_client` holds it; upper or lower case. A name that is
    /// not listed is [`CharsetFamily::Unknown`].
    #[must_use]
    pub fn of_charset(name: &str) -> Self {
        NAMES.iter().find(|(known, _)| name.eq_ignore_ascii_case(known)).map_or(Self::Unknown, |(_, family)| *family)
    }

    /// The family of the character set of a collation id, as the handshake response and `COM_CHANGE_USER` carry it.
    ///
    /// Ids are those of `information_schema.COLLATIONS` of MySQL up to 9.7 and MariaDB up to 10.11 (there with the
    /// `NOPAD` collations at 1024 + id, and the UCA 14.0.0 ones from 2048 on, 256 ids to a character set). An id that is
    /// not listed is [`CharsetFamily::Unknown`].
    #[must_use]
    pub fn of_collation(id: u16) -> Self {
        let padded = if (1025..=1279).contains(&id) { id - 1024 } else { id };
        match padded {
            1 | 84 => Self::Big5,
            13 | 88 | 95 | 96 => Self::Sjis,
            28 | 87 => Self::Gbk,
            248..=250 => Self::Gb18030,
            33 | 45 | 46 | 76 | 83 | 192..=215 | 223..=247 | 255..=323 | 576..=578 | 608..=610 | 2048..=2559 => {
                Self::Utf8
            }
            2..=9 | 11 | 12 | 14..=16 | 18..=27 | 29..=32 | 34 | 36..=44 | 47..=53 | 57..=59 | 63..=75 | 77..=81 => {
                Self::AsciiSafe
            }
            85 | 86 | 89 | 91..=94 | 97..=99 => Self::AsciiSafe,
            _ => Self::Unknown,
        }
    }

    /// Bytes that the server's lexer takes as one at the start of `rest`, whose first byte is 0x80 or above: a whole
    /// character where it is well formed, else one byte.
    ///
    /// The ranges are those of `ismbchar` in the servers' `strings/ctype-{gbk,big5,sjis,cp932,gb18030}.cc`. They matter in
    /// strings and quoted identifiers only, and only where the second byte could be a quote or a backslash.
    pub(super) fn width(self, rest: &[u8]) -> usize {
        let at = |i: usize| rest.get(i).copied().unwrap_or(0);
        let (first, second) = (at(0), at(1));
        let high = matches!(first, 0x81..=0xFE);
        let wide = match self {
            Self::Gbk => high && matches!(second, 0x40..=0x7E | 0x80..=0xFE),
            Self::Big5 => matches!(first, 0xA1..=0xF9) && matches!(second, 0x40..=0x7E | 0xA1..=0xFE),
            Self::Sjis => matches!(first, 0x81..=0x9F | 0xE0..=0xFC) && matches!(second, 0x40..=0x7E | 0x80..=0xFC),
            Self::Gb18030 => {
                if high && second.is_ascii_digit() && matches!(at(2), 0x81..=0xFE) && at(3).is_ascii_digit() {
                    return 4;
                }
                high && matches!(second, 0x40..=0x7E | 0x80..=0xFE)
            }
            Self::Utf8 | Self::AsciiSafe | Self::Unknown => false,
        };
        if wide { 2 } else { 1 }
    }

    /// Whether a multi-byte character of the family may hold a quote or a backslash.
    pub(super) fn hides_ascii(self) -> bool {
        matches!(self, Self::Gbk | Self::Big5 | Self::Sjis | Self::Gb18030)
    }
}

/// Every name that is known; the rest are [`CharsetFamily::Unknown`].
const NAMES: [(&str, CharsetFamily); 37] = {
    use CharsetFamily::{AsciiSafe, Big5, Gb18030, Gbk, Sjis, Utf8};
    [
        ("utf8mb4", Utf8),
        ("utf8mb3", Utf8),
        ("utf8", Utf8),
        ("latin1", AsciiSafe),
        ("binary", AsciiSafe),
        ("ascii", AsciiSafe),
        ("gbk", Gbk),
        ("big5", Big5),
        ("sjis", Sjis),
        ("cp932", Sjis),
        ("gb18030", Gb18030),
        ("armscii8", AsciiSafe),
        ("cp1250", AsciiSafe),
        ("cp1251", AsciiSafe),
        ("cp1256", AsciiSafe),
        ("cp1257", AsciiSafe),
        ("cp850", AsciiSafe),
        ("cp852", AsciiSafe),
        ("cp866", AsciiSafe),
        ("dec8", AsciiSafe),
        ("eucjpms", AsciiSafe),
        ("euckr", AsciiSafe),
        ("gb2312", AsciiSafe),
        ("geostd8", AsciiSafe),
        ("greek", AsciiSafe),
        ("hebrew", AsciiSafe),
        ("hp8", AsciiSafe),
        ("keybcs2", AsciiSafe),
        ("koi8r", AsciiSafe),
        ("koi8u", AsciiSafe),
        ("latin2", AsciiSafe),
        ("latin5", AsciiSafe),
        ("latin7", AsciiSafe),
        ("macce", AsciiSafe),
        ("macroman", AsciiSafe),
        ("tis620", AsciiSafe),
        ("ujis", AsciiSafe),
    ]
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collation_ids_agree_with_the_names_the_servers_give_them() {
        let listed = include_str!("../../fixtures/sql/collations.tsv");
        let mut seen = 0;
        for line in listed.lines().filter(|line| !line.starts_with('#')) {
            let (id, name) = line.split_once('\t').expect("two columns");
            let id: u16 = id.parse().expect("a collation id");
            assert_eq!(CharsetFamily::of_collation(id), CharsetFamily::of_charset(name), "collation {id} of {name}");
            seen += 1;
        }
        assert!(seen > 1000, "the fixture lost its rows: {seen}");
    }

    #[test]
    fn an_unheard_of_name_or_id_is_unknown() {
        for name in ["", "swe7", "ucs2", "utf16", "utf32", "klingon", "utf8mb5"] {
            assert_eq!(CharsetFamily::of_charset(name), CharsetFamily::Unknown, "{name}");
        }
        for id in [0, 10, 17, 82, 251, 324, 1024, 1280, 2560, u16::MAX] {
            assert_eq!(CharsetFamily::of_collation(id), CharsetFamily::Unknown, "{id}");
        }
    }

    #[test]
    fn a_lead_byte_takes_a_second_byte_only_in_its_range() {
        assert_eq!(CharsetFamily::Gbk.width(b"\x81\\"), 2);
        assert_eq!(CharsetFamily::Gbk.width(b"\x80\\"), 1);
        assert_eq!(CharsetFamily::Gbk.width(b"\x81'"), 1);
        assert_eq!(CharsetFamily::Gbk.width(b"\x81\x7f"), 1);
        assert_eq!(CharsetFamily::Gbk.width(b"\x81"), 1);
        assert_eq!(CharsetFamily::Big5.width(b"\xa1\\"), 2);
        assert_eq!(CharsetFamily::Big5.width(b"\xa0\\"), 1);
        assert_eq!(CharsetFamily::Big5.width(b"\xa1\x80"), 1);
        assert_eq!(CharsetFamily::Sjis.width(b"\x95\\"), 2);
        assert_eq!(CharsetFamily::Sjis.width(b"\xa0\\"), 1);
        assert_eq!(CharsetFamily::Sjis.width(b"\xfd\\"), 1);
        assert_eq!(CharsetFamily::Gb18030.width(b"\x81\x30\x81\x30"), 4);
        assert_eq!(CharsetFamily::Gb18030.width(b"\x81\x30\x81"), 1);
        assert_eq!(CharsetFamily::Gb18030.width(b"\x81\\"), 2);
        assert_eq!(CharsetFamily::Utf8.width(b"\xe4\\"), 1);
    }
}
