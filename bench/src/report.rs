//! Tables: ours, a peer measured in the same run, their ratio, and the conditions.

use serde_json::{Value, json};

/// Several runs of one measurement.
#[derive(Clone, Debug)]
pub struct Stat(Vec<f64>);

impl Stat {
    /// # Panics
    /// Without a run.
    pub fn new(mut runs: Vec<f64>) -> Stat {
        assert!(!runs.is_empty(), "a measurement without a run");
        runs.sort_by(f64::total_cmp);
        Stat(runs)
    }

    pub fn median(&self) -> f64 {
        self.0[self.0.len() / 2]
    }

    fn min(&self) -> f64 {
        self.0[0]
    }

    fn max(&self) -> f64 {
        self.0[self.0.len() - 1]
    }

    fn text(&self) -> String {
        let f = |v: f64| match v.abs() {
            a if a >= 100.0 => format!("{v:.0}"),
            a if a >= 10.0 => format!("{v:.1}"),
            _ => format!("{v:.2}"),
        };
        match self.0.len() {
            1 => f(self.median()),
            _ => format!("{} ({}..{})", f(self.median()), f(self.min()), f(self.max())),
        }
    }

    fn json(&self) -> Value {
        json!({ "median": self.median(), "min": self.min(), "max": self.max(), "runs": self.0.len() })
    }
}

/// Which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    Higher,
    Lower,
}

/// One line: what was measured, of ours and of at most one peer.
#[derive(Debug)]
pub struct Row {
    pub what: String,
    pub ours: Stat,
    pub peer: Option<(String, Stat)>,
    pub note: String,
}

impl Row {
    /// A line without a peer.
    pub fn alone(what: impl Into<String>, ours: Stat) -> Row {
        Row { what: what.into(), ours, peer: None, note: String::new() }
    }

    /// A line beside a peer.
    pub fn beside(what: impl Into<String>, ours: Stat, name: impl Into<String>, peer: Stat) -> Row {
        Row { what: what.into(), ours, peer: Some((name.into(), peer)), note: String::new() }
    }

    pub fn note(self, note: impl Into<String>) -> Row {
        Row { note: note.into(), ..self }
    }
}

/// A measurement with its conditions.
#[derive(Debug)]
pub struct Table {
    pub title: String,
    pub unit: &'static str,
    pub better: Better,
    pub conditions: Vec<String>,
    pub rows: Vec<Row>,
}

impl Table {
    /// Ours to the peer; above 1 ours is the better one, whichever way is better.
    fn ratio(&self, r: &Row) -> Option<f64> {
        let (ours, peer) = (r.ours.median(), r.peer.as_ref()?.1.median());
        let (top, bottom) = match self.better {
            Better::Higher => (ours, peer),
            Better::Lower => (peer, ours),
        };
        (bottom > 0.0).then(|| top / bottom)
    }

    pub fn print(&self) {
        let way = match self.better {
            Better::Higher => "more is better",
            Better::Lower => "less is better",
        };
        println!("\n{} [{}; {way}]", self.title, self.unit);
        let mut lines = vec![["", "ours", "peer", "", "ratio", ""].map(String::from)];
        for r in &self.rows {
            let (name, peer) = match &r.peer {
                Some((n, s)) => (n.clone(), s.text()),
                None => (String::new(), String::new()),
            };
            let ratio = self.ratio(r).map_or_else(String::new, |x| format!("{x:.2}"));
            lines.push([r.what.clone(), r.ours.text(), name, peer, ratio, r.note.clone()]);
        }
        let width: [usize; 6] =
            std::array::from_fn(|i| lines.iter().map(|l| l[i].chars().count()).max().unwrap_or(0));
        for l in &lines {
            let cells: Vec<String> = l.iter().zip(width).map(|(c, w)| format!("{c:<w$}")).collect();
            println!("  {}", cells.join("  ").trim_end());
        }
        for c in &self.conditions {
            println!("  - {c}");
        }
    }

    pub fn json(&self) -> Value {
        let row = |r: &Row| {
            json!({
                "what": r.what,
                "ours": r.ours.json(),
                "peer": r.peer.as_ref().map(|(n, s)| json!({ "name": n, "value": s.json() })),
                "ratio": self.ratio(r),
                "note": r.note,
            })
        };
        json!({
            "title": self.title,
            "unit": self.unit,
            "better": if self.better == Better::Higher { "higher" } else { "lower" },
            "conditions": self.conditions,
            "rows": self.rows.iter().map(row).collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(better: Better) -> Table {
        let row = Row::beside("x", Stat::new(vec![3.0, 1.0, 2.0]), "p", Stat::new(vec![4.0]));
        Table { title: "t".into(), unit: "u", better, conditions: vec![], rows: vec![row] }
    }

    #[test]
    fn a_ratio_above_one_is_good_for_ours() {
        let t = table(Better::Higher);
        assert_eq!(t.ratio(&t.rows[0]), Some(0.5));
        let t = table(Better::Lower);
        assert_eq!(t.ratio(&t.rows[0]), Some(2.0));
    }

    #[test]
    fn text_gives_median_and_range() {
        assert_eq!(Stat::new(vec![3.0, 1.0, 200.0]).text(), "3.00 (1.00..200)");
        assert_eq!(Stat::new(vec![12.34]).text(), "12.3");
    }
}
