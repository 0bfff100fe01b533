//! How far long work is: a bar on a terminal, a line now and then elsewhere.

use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, LazyLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::Output;
use crate::{logging, units};

/// How often the bar is drawn anew.
const TICK: Duration = Duration::from_millis(200);
/// How often a line is written where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Every bar is drawn by this, so that other lines do not get mixed up with it.
static BARS: LazyLock<MultiProgress> =
    LazyLock::new(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10)));

/// Bytes done and to do; counted up by the work, read by the display.
#[derive(Debug, Default)]
pub struct Meter {
    done: AtomicU64,
    total: AtomicU64,
}

impl Meter {
    /// Counts bytes that are done.
    pub fn add_done(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Sets how many bytes there are to do, as far as it is known.
    pub fn set_total(&self, bytes: u64) {
        self.total.store(bytes, Ordering::Relaxed);
    }

    /// Sets how many bytes are done.
    pub fn set_done(&self, bytes: u64) {
        self.done.store(bytes, Ordering::Relaxed);
    }

    fn get(&self) -> (u64, u64) {
        let done = self.done.load(Ordering::Relaxed);
        (done, self.total.load(Ordering::Relaxed).max(done))
    }
}

impl client::Progress for Meter {
    fn phase(&self, _: client::Phase, total_bytes: u64) {
        self.set_total(total_bytes);
    }

    fn done(&self, done_bytes: u64) {
        self.set_done(done_bytes);
    }
}

/// The display of one piece of work; ends when this is dropped.
pub struct Progress {
    meter: Arc<Meter>,
    display: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Progress {
    /// Begins to show a piece of work under a name, unless the run is to be quiet.
    pub fn start(name: &str, output: Output) -> Self {
        let meter = Arc::new(Meter::default());
        if output.quiet {
            return Self { meter, display: None };
        }
        let (stop, stopped) = channel();
        let shown = Arc::clone(&meter);
        let name = name.to_owned();
        let thread = std::thread::spawn(move || {
            let mut view = View::new(&name);
            while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                view.show(&shown);
            }
            view.end(&shown);
        });
        Self { meter, display: Some((stop, thread)) }
    }

    /// What the work counts up.
    pub fn meter(&self) -> Arc<Meter> {
        Arc::clone(&self.meter)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.display.take() {
            drop(stop);
            let _ = thread.join();
        }
    }
}

/// Runs something that writes to the terminal while no bar is in the way.
pub fn suspend<T>(write: impl FnOnce() -> T) -> T {
    BARS.suspend(write)
}

enum View {
    Bar(ProgressBar),
    Lines { name: String, started: Instant, last: Instant, told_bytes: Option<u64> },
}

impl View {
    fn new(name: &str) -> Self {
        let now = Instant::now();
        if logging::is_json() || !std::io::stderr().is_terminal() {
            return Self::Lines {
                name: name.to_owned(),
                started: now,
                last: now,
                told_bytes: None,
            };
        }
        let bar = BARS.add(ProgressBar::new(0));
        let template = "{prefix} [{bar:30}] {binary_bytes}/{binary_total_bytes} \
                        {binary_bytes_per_sec} {eta}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(name.to_owned());
        Self::Bar(bar)
    }

    fn show(&mut self, meter: &Meter) {
        let (done, total) = meter.get();
        match self {
            Self::Bar(bar) => {
                bar.set_length(total);
                bar.set_position(done);
            }
            Self::Lines { last, .. } if last.elapsed() >= LINE_EVERY => self.line(meter),
            Self::Lines { .. } => {}
        }
    }

    fn end(&mut self, meter: &Meter) {
        let (done, _) = meter.get();
        match self {
            Self::Bar(bar) => {
                bar.finish_and_clear();
                BARS.remove(bar);
            }
            Self::Lines { told_bytes, .. } if *told_bytes != Some(done) && done > 0 => {
                self.line(meter);
            }
            Self::Lines { .. } => {}
        }
    }

    fn line(&mut self, meter: &Meter) {
        let Self::Lines { name, started, last, told_bytes } = self else { return };
        let (done, total) = meter.get();
        let spent = started.elapsed();
        let mut text = format!("{name}: {} of {}", units::bytes(done), units::bytes(total));
        text.push_str(&format!(", {}", units::rate(done, spent)));
        if done > 0 && total > done {
            let left = spent.mul_f64((total - done) as f64 / done as f64);
            text.push_str(&format!(", {} left", units::time(left)));
        }
        let _ = writeln!(std::io::stderr().lock(), "{}", logging::line("progress", &text));
        *last = Instant::now();
        *told_bytes = Some(done);
    }
}
