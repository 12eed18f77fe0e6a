//! Distinct users of a minute: HyperLogLog (Flajolet, Fusy, Gandouet and Meunier 2007), with linear counting
//! where registers are free. Written here since its bytes are part of a state that a replay must give again
//! bit by bit, whatever has been written and read in between.

use super::bytes::{Reader, Writer};

/// Registers as a power of two: a standard error of 2.3 %.
const LG_REGISTERS: u32 = 11;
const REGISTERS: usize = 1 << LG_REGISTERS;

/// From so many registers in use on all are written, not each with its number.
const USED_DENSE: usize = REGISTERS / 3;

/// The sketch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Users {
    registers: Box<[u8; REGISTERS]>,
    /// How many are in use.
    used: usize,
}

impl Default for Users {
    fn default() -> Self {
        Self { registers: Box::new([0; REGISTERS]), used: 0 }
    }
}

impl Users {
    /// Adds a user by the hash of its name.
    pub fn add(&mut self, hash: u64) {
        let register = &mut self.registers[(hash >> (64 - LG_REGISTERS)) as usize];
        let rank = (hash << LG_REGISTERS).leading_zeros().min(64 - LG_REGISTERS) + 1;
        self.used += usize::from(*register == 0);
        *register = (*register).max(rank as u8);
    }

    /// How many there are, about.
    pub fn estimate(&self) -> f64 {
        let m = REGISTERS as f64;
        // Sums of powers of two are exact here, so the order does not matter.
        let sum: f64 = self.registers.iter().map(|&rank| 1.0 / (1_u64 << rank) as f64).sum();
        let raw = 0.7213 / (1.0 + 1.079 / m) * m * m / sum;
        let free = REGISTERS - self.used;
        if raw <= 2.5 * m && free > 0 { m * libm::log(m / free as f64) } else { raw }
    }

    /// Bytes of what [`Users::encode`] writes after their number.
    pub fn bytes(&self) -> usize {
        if self.used > USED_DENSE { REGISTERS } else { 3 * self.used }
    }

    pub fn encode(&self, out: &mut Writer) {
        // Most minutes of a small platform have few users.
        out.count(self.used);
        if self.used > USED_DENSE {
            out.0.extend_from_slice(&self.registers[..]);
        } else {
            let used = self.registers.iter().enumerate().filter(|(_, rank)| **rank > 0);
            used.for_each(|(register, &rank)| {
                out.u16(register as u16);
                out.u8(rank);
            });
        }
    }

    pub fn decode(bytes: &mut Reader) -> Option<Self> {
        let mut users = Self { used: bytes.u32()? as usize, ..Self::default() };
        if users.used > USED_DENSE {
            users.registers.copy_from_slice(bytes.take(REGISTERS)?);
        } else {
            for _ in 0..users.used {
                let (register, rank) = (bytes.u16()?, bytes.u8()?);
                *users.registers.get_mut(usize::from(register))? = rank;
            }
        }
        let is_used = users.registers.iter().filter(|rank| **rank > 0).count() == users.used;
        let are_ranks = users.registers.iter().all(|rank| u32::from(*rank) <= 65 - LG_REGISTERS);
        (is_used && are_ranks).then_some(users)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_is_near_and_bytes_go_both_ways() {
        let mut users = Users::default();
        for n in 1..=100_000_u64 {
            users.add(crate::hash(&n.to_le_bytes()));
            users.add(crate::hash(&(n / 2).max(1).to_le_bytes()));
            if [1, 10, 100, 500, 700, 2_000, 5_000, 20_000, 100_000].contains(&n) {
                let off = users.estimate() / n as f64 - 1.0;
                assert!(off.abs() < 0.06, "{n}: {off}");
                let mut bytes = Vec::new();
                users.encode(&mut Writer(&mut bytes));
                assert_eq!(bytes.len(), 4 + users.bytes());
                assert!(Users::decode(&mut Reader(&bytes)).as_ref() == Some(&users), "{n}");
            }
        }
    }
}
