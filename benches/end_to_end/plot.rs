//! The table as a picture: what a gigabyte costs, a bar an agent.
//!
//! In:  corpora, agents, CPU seconds for a gigabyte
//! Out: SVG that reads well on a light and on a dark page

use std::fmt;

/// A picture of bars, in groups.
#[derive(Default)]
pub(crate) struct Plot {
    bars: Vec<Bar>,
}

struct Bar {
    corpus: &'static str,
    agent: String,
    cost: f64,
}

const WIDTH: f64 = 720.0;
/// Where bars begin.
const LEFT: f64 = 180.0;
/// What is left for the figure behind the longest bar.
const RIGHT: f64 = 150.0;
const HEAD: f64 = 44.0;
const BAR: f64 = 16.0;
const GAP: f64 = 12.0;

/// Middle tones, which stand out from white and from black.
const COLOURS: [(&str, &str); 3] =
    [("log-ambassador", "#2f81f7"), ("floor", "#8b949e"), ("", "#d9822b")];

impl Plot {
    /// Whether there is nothing to draw.
    pub(crate) fn is_empty(&self) -> bool {
        self.bars.is_empty()
    }

    /// The bar of an agent; those of one corpus come one after another.
    pub(crate) fn add(&mut self, corpus: &'static str, agent: &str, cost: f64) {
        self.bars.push(Bar { corpus, agent: agent.to_owned(), cost });
    }
}

impl fmt::Display for Plot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let groups: Vec<&[Bar]> = self.bars.chunk_by(|a, b| a.corpus == b.corpus).collect();
        let height = HEAD + groups.len() as f64 * GAP + self.bars.len() as f64 * BAR;
        let longest = self.bars.iter().map(|bar| bar.cost).fold(f64::MIN_POSITIVE, f64::max);
        let scale = (WIDTH - LEFT - RIGHT) / longest;
        writeln!(
            f,
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">"#
        )?;
        writeln!(f, "<title>CPU seconds for a gigabyte of log lines</title>")?;
        f.write_str(STYLE)?;
        writeln!(f, r#"<rect class="page" width="{WIDTH}" height="{height}" rx="6"/>"#)?;
        writeln!(
            f,
            r#"<text class="head" x="12" y="24">CPU seconds for a gigabyte of log lines (less is better)</text>"#
        )?;
        let mut top = HEAD;
        for group in groups {
            let middle = top + group.len() as f64 * BAR / 2.0 + 4.0;
            let corpus = group[0].corpus;
            let right = LEFT - 8.0;
            writeln!(f, r#"<text text-anchor="end" x="{right}" y="{middle:.1}">{corpus}</text>"#)?;
            for bar in group {
                bar.draw(f, top, scale)?;
                top += BAR;
            }
            top += GAP;
        }
        writeln!(f, "</svg>")
    }
}

impl Bar {
    fn draw(&self, f: &mut fmt::Formatter<'_>, top: f64, scale: f64) -> fmt::Result {
        let Self { agent, cost, .. } = self;
        let (length, thick) = (cost * scale, BAR - 2.0);
        let colour = COLOURS.iter().find(|(name, _)| name == agent || name.is_empty());
        let colour = colour.map_or("", |(_, colour)| colour);
        writeln!(
            f,
            r#"<rect x="{LEFT}" y="{top:.1}" width="{length:.1}" height="{thick}" fill="{colour}"/>"#
        )?;
        let (x, y) = (LEFT + length + 6.0, top + 11.5);
        let agent = agent.replace('&', "&amp;").replace('<', "&lt;");
        writeln!(f, r#"<text class="small" x="{x:.1}" y="{y:.1}">{cost:.2}  {agent}</text>"#)
    }
}

const STYLE: &str = "<style>
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.page { fill: #ffffff }
.head { font-weight: 600 }
.small { font-size: 11px }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .page { fill: #0d1117 }
}
</style>
";
