//! Which outputs take a tag.
//!
//! In:  a tag
//! Out: the numbers of the outputs that take it

use crate::model::{Selector, Tag};

/// Tag in, numbers of outputs out.
#[derive(Debug)]
pub struct Router {
    outputs: Vec<Selector>,
}

impl Router {
    /// The outputs, in the order of the configuration.
    pub fn new(outputs: Vec<Selector>) -> Self {
        Self { outputs }
    }

    /// The outputs that take `tag`, in order.
    pub fn route(&self, tag: &Tag) -> Vec<usize> {
        (0..self.outputs.len()).filter(|&number| self.outputs[number].takes(tag)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Pattern;

    #[test]
    fn a_tag_goes_to_every_output_that_takes_it_in_order() {
        let patterns = ["app.*", "none", "*"].map(Pattern::new);
        let selectors = patterns.map(|pattern| Selector::compile(Some(pattern), None).unwrap());
        let router = Router::new(selectors.into());
        assert_eq!(router.route(&Tag::new("app.logs")), [0, 2]);
        assert_eq!(router.route(&Tag::new("none")), [1, 2]);
        assert_eq!(Router::new(Vec::new()).route(&Tag::new("none")), [0_usize; 0]);
    }
}
