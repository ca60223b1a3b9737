//! Pictures, patterns and texts within models.

use super::*;

/// `y = ImageDecoder(bytes)`.
fn picture(name: &'static str, bytes: &[u8]) -> Hostile {
    let m = one(vec![constant("file", Tensor::vector(bytes))], node("ImageDecoder", &["file"], &["y"]));
    Hostile::new(name, &m, &[InvalidInput, InvalidNode, Limit])
}

/// A PNG file's beginning: its header and the data given, as its one chunk.
fn png(width: u32, height: u32, data: &[u8]) -> Vec<u8> {
    let mut out = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut chunk = |kind: &[u8; 4], data: &[u8]| {
        out.extend((data.len() as u32).to_be_bytes());
        let body = [&kind[..], data].concat();
        out.extend(&body);
        out.extend(crc(&body).to_be_bytes());
    };
    let head = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 0, 0, 0, 0]].concat();
    chunk(b"IHDR", &head);
    chunk(b"IDAT", data);
    chunk(b"IEND", &[]);
    out
}

fn crc(bytes: &[u8]) -> u32 {
    let step =
        |c: u32, b: &u8| (0..8).fold(c ^ u32::from(*b), |c, _| c >> 1 ^ if c & 1 == 1 { 0xedb8_8320 } else { 0 });
    !bytes.iter().fold(!0, step)
}

/// A JPEG file's beginning that claims this size.
fn jpeg(width: u16, height: u16) -> Vec<u8> {
    let [h, w] = [height.to_be_bytes(), width.to_be_bytes()];
    let frame = [0xff, 0xc0, 0, 11, 8, h[0], h[1], w[0], w[1], 1, 1, 0x11, 0];
    [&[0xff, 0xd8][..], &frame, &[0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0, 0, 0xff, 0xd9]].concat()
}

fn bmp(width: i32, height: i32) -> Vec<u8> {
    let mut out = b"BM".to_vec();
    [54 + 16u32, 0, 54, 40].iter().for_each(|n| out.extend(n.to_le_bytes()));
    [width, height].iter().for_each(|n| out.extend(n.to_le_bytes()));
    out.extend([1, 0, 24, 0]);
    out.extend([0u8; 40]);
    out
}

/// `y = RegexFullMatch(strings)`.
fn pattern(name: &'static str, pattern: &str, subject: &str) -> Hostile {
    let subject = constant("t", Tensor::from_strings([1], vec![subject.into()]).unwrap());
    let n = with("RegexFullMatch", &["t"], &["y"], vec![text("pattern", pattern.as_bytes())]);
    Hostile::new(name, &one(vec![subject], n), &[InvalidNode, Unsupported, Limit])
}

pub fn all() -> Vec<Hostile> {
    // what 100 MB of zeros would begin with: deflate's longest match again and again
    let deflated: Vec<u8> = [0x78, 0xda, 0xec, 0xc1].into_iter().chain(std::iter::repeat_n(0, 1 << 16)).collect();
    let strings = |t: &str| constant("t", Tensor::from_strings([1], vec![t.into()]).unwrap());
    vec![
        picture("PNG of 2^62 pixels", &png(0x7fff_ffff, 0x7fff_ffff, &[])),
        picture("PNG of 900 million pixels", &png(30_000, 30_000, &deflated)),
        picture("JPEG of 4 billion pixels", &jpeg(65_535, 65_535)),
        picture("JPEG without rows", &jpeg(16, 0)),
        picture("BMP of the least size", &bmp(i32::MIN, i32::MIN)),
        picture("BMP of 2^60 pixels", &bmp(i32::MAX, 1 << 30)),
        picture("PNM of endless pixels", b"P6 99999999 99999999 255\n\x01"),
        picture("PNM of more digits than numbers have", b"P6 99999999999999999999999 1 255\n\x01"),
        picture("JPEG 2000 cut short", &[0, 0, 0, 12, b'j', b'P', b' ', b' ', 13, 10, 0x87, 10, 0xff, 0xff]),
        picture("code stream of JPEG 2000 of 2^62 pixels", &{
            let mut out = vec![0xff, 0x4f, 0xff, 0x51, 0, 41, 0, 0];
            [0x7fff_ffffu32, 0x7fff_ffff, 0, 0, 0x7fff_ffff, 0x7fff_ffff, 0, 0]
                .iter()
                .for_each(|n| out.extend(n.to_be_bytes()));
            out.extend([0, 1, 7, 1, 1]);
            out
        }),
        picture("TIFF that points outside", b"II*\0\xff\xff\xff\x7f"),
        picture("WebP of a false length", b"RIFF\xff\xff\xff\xffWEBPVP8L\xff\xff\xff\xff/\xff\xff\xff\xff"),
        picture("a picture that is none", b"not a picture"),
        picture("no bytes at all", b""),
        pattern("a pattern that multiplies", "((a{1000}){1000}){1000}", "a"),
        pattern("a pattern that goes back", "(a*)*(a|aa)*b", &"a".repeat(100_000)).allow(Allowed::Success),
        pattern("a pattern that is none", "(((", "a"),
        pattern("a pattern of parentheses", &"(".repeat(100_000), "a"),
        Hostile::new(
            "an attribute that is not UTF-8",
            &one(vec![strings("a")], with("RegexFullMatch", &["t"], &["y"], vec![text("pattern", &[0xff])])),
            &[Unsupported],
        ),
        Hostile::new(
            "StringSplit at every letter",
            &one(
                vec![strings(&"a,".repeat(200_000))],
                with("StringSplit", &["t"], &["y", "n"], vec![text("delimiter", b",")]),
            ),
            &[Limit],
        )
        .allow(Allowed::Success),
        Hostile::new(
            "a skip of endless grams",
            &one(
                vec![longs("i", &[1, 2, 3])],
                with(
                    "TfIdfVectorizer",
                    &["i"],
                    &["y"],
                    vec![
                        text("mode", b"TF"),
                        int("min_gram_length", 1),
                        int("max_gram_length", i64::MAX),
                        int("max_skip_count", i64::MAX),
                        ints("ngram_counts", &[0]),
                        ints("ngram_indexes", &[1 << 40]),
                        ints("pool_int64s", &[1]),
                    ],
                ),
            ),
            &[InvalidNode, Limit, Unsupported],
        ),
    ]
}
