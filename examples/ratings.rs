//! Ratings of items by users: made from known tastes, or read from a MovieLens `ratings.dat`.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::{error, fmt, fs, io};
use trt_subgraph::Random;

/// The fewest and the most stars.
pub const STARS: (f64, f64) = (1.0, 5.0);

/// One rating; users and items count from 0.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Rating {
    /// Who.
    pub user: usize,
    /// What.
    pub item: usize,
    /// How good, 1 to 5.
    pub stars: f64,
}

/// Ratings, a tenth of them held out.
#[derive(Debug)]
pub struct Ratings {
    /// Number of users.
    pub users: usize,
    /// Number of items.
    pub items: usize,
    /// To train with.
    pub training: Vec<Rating>,
    /// To judge by.
    pub held_out: Vec<Rating>,
    /// Root mean square error of the tastes that made the held-out ratings; nothing does better. `None` where those are unknown.
    pub floor: Option<f64>,
}

/// Why there are no ratings; each names the file to blame.
#[derive(Debug)]
pub enum RatingsError {
    /// The file cannot be read.
    Read(PathBuf, io::Error),
    /// A line, which counts from 1, is none of the form `user::item::stars::time`, or has not half a star to 5.
    Line(PathBuf, usize),
    /// The file has fewer ratings than can be divided.
    Few(PathBuf),
}

impl fmt::Display for RatingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(path, error) => {
                write!(f, "{}: {error}; a `ratings.dat` of MovieLens 1M or 10M is wanted", path.display())
            }
            Self::Line(path, line) => {
                write!(
                    f,
                    "{}, line {line}: expected user::item::stars::time with 0.5 to 5 stars, as in the `ratings.dat` of MovieLens 1M and 10M",
                    path.display()
                )
            }
            Self::Few(path) => write!(f, "{}: fewer than 10 ratings", path.display()),
        }
    }
}

impl error::Error for RatingsError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Read(_, error) => Some(error),
            Self::Line(..) | Self::Few(_) => None,
        }
    }
}

impl Ratings {
    /// So many ratings of different items by each user. A user likes an item by the product of their four latent factors, beside what
    /// each gives on average; noise and rounding to whole stars come on top. The same ones for the same seed.
    ///
    /// # Panics
    /// When there are fewer items than ratings of a user.
    pub fn made(users: usize, items: usize, each: usize, seed: u64) -> Ratings {
        const FACTORS: usize = 4;
        const NOISE: f64 = 0.4;
        assert!(each <= items, "a user rates an item once");
        let mut random = Random::new(seed);
        let mut tastes = |n: usize| -> Vec<([f64; FACTORS], f64)> {
            (0..n).map(|_| ([0; FACTORS].map(|_| normal(&mut random)), 0.3 * normal(&mut random))).collect()
        };
        let (of_users, of_items) = (tastes(users), tastes(items));
        let mut list = Vec::with_capacity(users * each);
        let mut errors = Vec::new();
        for (user, (taste, kindness)) in of_users.iter().enumerate() {
            let mut rated = HashSet::new();
            while rated.len() < each {
                let item = random.below(items);
                if !rated.insert(item) {
                    continue;
                }
                let (nature, quality) = &of_items[item];
                let product: f64 = taste.iter().zip(nature).map(|(a, b)| a * b).sum();
                let liking = (3.3 + kindness + quality + 0.5 * product).clamp(STARS.0, STARS.1);
                let stars = (liking + NOISE * normal(&mut random)).round().clamp(STARS.0, STARS.1);
                list.push(Rating { user, item, stars });
                errors.push(liking - stars);
            }
        }
        let mut made = Ratings::divided(users, items, list);
        let held_out: Vec<f64> = errors.into_iter().skip(9).step_by(10).collect();
        made.floor = Some(root_mean_square(&held_out));
        made
    }

    /// MovieLens 1M's and 10M's `ratings.dat`: a line for each rating, `user::item::stars::time`. Half a star
    /// counts as one.
    pub fn read(path: &Path) -> Result<Ratings, RatingsError> {
        let text = fs::read_to_string(path).map_err(|e| RatingsError::Read(path.into(), e))?;
        let (mut users, mut items) = (BTreeMap::new(), BTreeMap::new());
        let mut list = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let fault = || RatingsError::Line(path.into(), at + 1);
            let [user, item, stars, _] = line.split("::").collect::<Vec<_>>()[..] else {
                return Err(fault());
            };
            let stars: f64 = stars.parse().map_err(|_| fault())?;
            if !(0.5..=STARS.1).contains(&stars) {
                return Err(fault());
            }
            let number = |of: &mut BTreeMap<u32, usize>, id: &str| -> Result<usize, RatingsError> {
                let next = of.len();
                Ok(*of.entry(id.parse().map_err(|_| fault())?).or_insert(next))
            };
            let (user, item) = (number(&mut users, user)?, number(&mut items, item)?);
            list.push(Rating { user, item, stars: stars.max(STARS.0) });
        }
        if list.len() < 10 {
            return Err(RatingsError::Few(path.into()));
        }
        Ok(Ratings::divided(users.len(), items.len(), list))
    }

    /// Every tenth rating is held out.
    fn divided(users: usize, items: usize, list: Vec<Rating>) -> Ratings {
        let held_out = list.iter().copied().skip(9).step_by(10).collect();
        let training = list.into_iter().enumerate().filter(|(at, _)| at % 10 != 9).map(|(_, r)| r).collect();
        Ratings { users, items, training, held_out, floor: None }
    }

    /// The mean number of stars in training.
    pub fn mean(&self) -> f64 {
        self.training.iter().map(|r| r.stars).sum::<f64>() / self.training.len() as f64
    }
}

/// The root of the mean of the squares.
pub fn root_mean_square(errors: &[f64]) -> f64 {
    (errors.iter().map(|e| e * e).sum::<f64>() / errors.len() as f64).sqrt()
}

/// A number of the standard normal distribution, by the method of Box and Muller.
fn normal(random: &mut Random) -> f64 {
    (-2.0 * (1.0 - random.unit()).ln()).sqrt() * (std::f64::consts::TAU * random.unit()).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_ratings_are_reproducible_and_follow_tastes() {
        let [a, b] = [0, 0].map(|_| Ratings::made(50, 40, 20, 1));
        assert_eq!((a.training.len(), a.held_out.len()), (900, 100));
        assert!(a.training == b.training && a.held_out == b.held_out);
        let pairs: HashSet<(usize, usize)> =
            a.training.iter().chain(&a.held_out).map(|r| (r.user, r.item)).collect();
        assert_eq!(pairs.len(), 1000);
        // The mean alone is a far worse guess than the tastes.
        let errors: Vec<f64> = a.held_out.iter().map(|r| r.stars - a.mean()).collect();
        assert!(root_mean_square(&errors) > 1.5 * a.floor.unwrap(), "{}", root_mean_square(&errors));
    }

    #[test]
    fn a_movielens_file_is_read_and_its_faults_are_named() {
        let path = std::env::temp_dir().join(format!("ratings-{}.dat", std::process::id()));
        let good: String =
            (0..12).map(|i| format!("{}::{}::{}::978300760\n", i / 4 + 7, i, i % 5 + 1)).collect();
        fs::write(&path, &good).unwrap();
        let read = Ratings::read(&path).unwrap();
        assert_eq!((read.users, read.items, read.training.len(), read.floor), (3, 12, 11, None));
        assert_eq!(read.held_out, [Rating { user: 2, item: 9, stars: 5.0 }]);
        for (bad, line) in [("1::2::6::3\n", 13), ("1::2::3\n", 13), ("x::2::3::4\n", 13)] {
            fs::write(&path, good.clone() + bad).unwrap();
            let error = Ratings::read(&path).unwrap_err();
            assert!(matches!(error, RatingsError::Line(_, at) if at == line), "{error}");
        }
        fs::write(&path, "").unwrap();
        assert!(matches!(Ratings::read(&path), Err(RatingsError::Few(_))));
        fs::remove_file(&path).unwrap();
        assert!(matches!(Ratings::read(&path), Err(RatingsError::Read(..))));
    }
}
