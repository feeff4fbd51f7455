//! How a study's corpus becomes tokens. A tokenizer isn't stored: each worker learns it from the corpus again, which gives
//! the same one, and its hash tells if it doesn't.

use primer_models::text::{Corpus, Tokenizer, TokenizerSpec};

use super::StudySpec;
use crate::error::{Error, Result};

impl StudySpec {
    /// The corpus with the tokens of a new study, which from then on knows their tokenizer.
    ///
    /// # Errors
    ///
    /// Those of [`StudySpec::check_corpus`]; [`Error::Model`] where no tokenizer can be learned from the corpus.
    pub fn learn_tokens(&mut self, corpus: Corpus) -> Result<Corpus> {
        let corpus = self.tokenized(corpus)?;
        self.tokenizer_sha256 = sha256_of(corpus.tokenizer());
        self.check_corpus(&corpus)?;
        Ok(corpus)
    }

    /// The corpus with the study's tokens.
    ///
    /// # Errors
    ///
    /// As [`StudySpec::learn_tokens`]; [`Error::StudyMismatch`] where another build learns another tokenizer.
    pub fn tokens(&self, corpus: Corpus) -> Result<Corpus> {
        let corpus = self.tokenized(corpus)?;
        self.check_corpus(&corpus)?;
        Ok(corpus)
    }

    fn tokenized(&self, corpus: Corpus) -> Result<Corpus> {
        same("corpus", &self.corpus, &corpus.sha256())?;
        let tokenizer = self.tokenizer.train(&corpus)?;
        Ok(corpus.with_tokenizer(tokenizer))
    }

    /// Fails unless `corpus` is the study's, with its tokens.
    ///
    /// # Errors
    ///
    /// [`Error::StudyMismatch`]; [`Error::Option`] where the study's vocabulary is smaller than the text's.
    pub fn check_corpus(&self, corpus: &Corpus) -> Result<()> {
        same("corpus", &self.corpus, &corpus.sha256())?;
        let name = |sha256: &Option<String>| sha256.clone().unwrap_or_else(|| TokenizerSpec::Bytes.to_string());
        same("tokenizer_sha256", &name(&self.tokenizer_sha256), &name(&sha256_of(corpus.tokenizer())))?;
        let (rows, tokens) = (self.model.vocab, corpus.tokenizer().vocab());
        if tokens > rows as usize {
            let reason = format!("the text has {tokens} kinds of tokens");
            return Err(Error::Option { key: "model.vocab", given: rows.to_string(), reason });
        }
        Ok(())
    }
}

fn same(key: &str, stored: &str, given: &str) -> Result<()> {
    if stored == given {
        return Ok(());
    }
    Err(Error::StudyMismatch { key: key.to_owned(), stored: stored.to_owned(), given: given.to_owned() })
}

fn sha256_of(tokenizer: &Tokenizer) -> Option<String> {
    matches!(tokenizer, Tokenizer::Bpe(_)).then(|| tokenizer.id().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dna::seeds;
    use crate::store::{Location, Store};
    use crate::study::{ModelDims, Preset};

    fn corpus() -> Corpus {
        Corpus::from_text("counting", "one two three four five\n".repeat(400).as_bytes()).unwrap()
    }

    fn byte_pairs() -> StudySpec {
        let seed = seeds::transformer().unwrap().to_string();
        let spec = StudySpec::preset(Preset::Small, seed, corpus().sha256(), 7);
        StudySpec { tokenizer: TokenizerSpec::Bpe(270), model: ModelDims { vocab: 270, ..spec.model }, ..spec }
    }

    #[test]
    fn a_worker_learns_the_tokens_of_its_study() {
        let mut spec = byte_pairs();
        let learned = spec.learn_tokens(corpus()).unwrap();
        assert_eq!(learned.tokenizer().id(), spec.tokenizer_sha256.as_deref().unwrap());
        assert_eq!(spec.tokens(corpus()).unwrap().tokenizer().id(), learned.tokenizer().id());

        let key = |result: Result<()>| match result {
            Err(Error::StudyMismatch { key, .. }) => key,
            Err(Error::Option { key, .. }) => key.to_owned(),
            other => panic!("{other:?}"),
        };
        // Bytes where byte pairs were asked for, what another build learned, another text, too few rows.
        assert_eq!(key(spec.check_corpus(&corpus())), "tokenizer_sha256");
        let other = StudySpec { tokenizer_sha256: Some("00".to_owned()), ..spec.clone() };
        assert_eq!(key(other.tokens(corpus()).map(drop)), "tokenizer_sha256");
        let other = Corpus::from_text("letters", "a b c\n".repeat(400).as_bytes()).unwrap();
        assert_eq!(key(spec.tokens(other).map(drop)), "corpus");
        spec.model.vocab = 256;
        assert_eq!(key(spec.tokens(corpus()).map(drop)), "model.vocab");
    }

    #[test]
    fn a_study_is_not_made_before_its_tokens_are_learned() {
        let folder = tempfile::tempdir().unwrap();
        let location = Location::Sqlite(folder.path().join("store.db"));
        let mut spec = byte_pairs();
        let refused = Store::create(&location, &spec).unwrap_err();
        assert!(matches!(refused, Error::Option { key: "tokenizer", .. }), "{refused}");
        spec.learn_tokens(corpus()).unwrap();
        Store::create(&location, &spec).unwrap();
    }
}
