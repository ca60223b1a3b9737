//! Sentence similarity: which of these sentences mean the same? Prints the cosine of every pair's embeddings.
//!
//!     cargo run --release --example similarity -- [SENTENCES.txt [MODEL [TOKENIZER.json]]]

mod common;

use anyhow::{Context, Result, anyhow, ensure};
use shadernet::Tensor;
use tokenizers::{PaddingParams, Tokenizer, TruncationParams};

fn main() -> Result<()> {
    let source = common::argument(1, "tests/data/text/sentences.txt");
    let text = std::fs::read_to_string(&source).with_context(|| format!("cannot read {}", source.display()))?;
    let sentences: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    ensure!(!sentences.is_empty(), "{} has no sentence", source.display());
    let model = common::model(&common::argument(2, "models/minilm-l6-int8/model.onnx"))?;
    let gpu = common::gpu()?;
    let session = common::session(&gpu, &model)?;
    let vocabulary = common::argument(3, "models/minilm-l6-int8/tokenizer.json");
    common::ensure_there(&vocabulary, "vocabulary")?;

    // shorter sentences are filled up, so that all of them are one batch
    let mut tokenizer = Tokenizer::from_file(&vocabulary).map_err(|e| anyhow!("{}: {e}", vocabulary.display()))?;
    tokenizer.with_padding(Some(PaddingParams::default()));
    tokenizer
        .with_truncation(Some(TruncationParams { max_length: 256, ..Default::default() }))
        .map_err(|e| anyhow!(e))?;
    let encoded = tokenizer.encode_batch(sentences.clone(), true).map_err(|e| anyhow!(e))?;
    let shape = [encoded.len(), encoded[0].len()];
    let batch = |of: fn(&tokenizers::Encoding) -> &[u32]| {
        Tensor::new(shape, encoded.iter().flat_map(|e| of(e).iter().map(|id| *id as i64)).collect())
    };
    let outputs = session.run(&[
        ("input_ids", batch(|e| e.get_ids())?),
        ("attention_mask", batch(|e| e.get_attention_mask())?),
        ("token_type_ids", batch(|e| e.get_type_ids())?),
    ])?;
    let (_, hidden) = outputs.first().context("the model gave nothing")?;
    ensure!(hidden.rank() == 3 && hidden.shape()[..2] == shape, "expected a vector for each token, got {hidden:?}");

    // a sentence is the mean of its tokens, at length 1
    let (width, hidden) = (hidden.shape()[2], hidden.to_f32s()?);
    let embedding = |(i, e): (usize, &tokenizers::Encoding)| {
        let mut sum = vec![0f32; width];
        let tokens = hidden[i * shape[1] * width..].chunks(width);
        for (token, _) in tokens.zip(e.get_attention_mask()).filter(|(_, mask)| **mask == 1) {
            sum.iter_mut().zip(token).for_each(|(s, t)| *s += t);
        }
        let length = sum.iter().map(|v| v * v).sum::<f32>().sqrt();
        sum.into_iter().map(|v| v / length).collect::<Vec<f32>>()
    };
    let embeddings: Vec<Vec<f32>> = encoded.iter().enumerate().map(embedding).collect();
    let cosine = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();

    println!("    {}", (1..=sentences.len()).map(|n| format!("{n:6}")).collect::<String>());
    for (i, a) in embeddings.iter().enumerate() {
        let row: String = embeddings.iter().map(|b| format!("{:6.2}", cosine(a, b))).collect();
        println!("{:3} {row}   {}", i + 1, sentences[i]);
    }
    for (i, a) in embeddings.iter().enumerate() {
        let others = embeddings.iter().enumerate().filter(|(j, _)| *j != i).map(|(j, b)| (j, cosine(a, b)));
        if let Some((j, most)) = others.max_by(|a, b| a.1.total_cmp(&b.1)) {
            println!("{} is closest to {} ({most:.2})", i + 1, j + 1);
        }
    }
    Ok(())
}
