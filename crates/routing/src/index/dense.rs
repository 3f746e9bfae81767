//! A map from small numbers, in pages: what is asked for on every change is found at once.

/// Values of one page.
const PAGE: usize = 64;

/// Values by numbers that are given out one after the other. Pages without values are not kept.
#[derive(Debug, Clone)]
pub(crate) struct Dense<T> {
    pages: Vec<Option<Box<[Option<T>; PAGE]>>>,
}

impl<T> Default for Dense<T> {
    fn default() -> Self {
        Self { pages: Vec::new() }
    }
}

impl<T> Dense<T> {
    pub(crate) fn get(&self, key: u32) -> Option<&T> {
        let (page, at) = place(key);
        self.pages.get(page)?.as_ref()?[at].as_ref()
    }

    pub(crate) fn get_mut(&mut self, key: u32) -> Option<&mut T> {
        let (page, at) = place(key);
        self.pages.get_mut(page)?.as_mut()?[at].as_mut()
    }

    pub(crate) fn insert(&mut self, key: u32, value: T) {
        let (page, at) = place(key);
        if self.pages.len() <= page {
            self.pages.resize_with(page + 1, || None);
        }
        if let Some(slot) = self.pages.get_mut(page) {
            let values = slot.get_or_insert_with(|| Box::new([const { None }; PAGE]));
            values[at] = Some(value);
        }
    }

    pub(crate) fn remove(&mut self, key: u32) -> Option<T> {
        let (page, at) = place(key);
        let slot = self.pages.get_mut(page)?;
        let values = slot.as_mut()?;
        let value = values[at].take();
        if values.iter().all(Option::is_none) {
            *slot = None;
        }
        value
    }

    /// All, in the order of their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        let keys = (0_u32..).zip(self.pages.iter().flat_map(|page| {
            (0..PAGE).map(move |at| page.as_ref().and_then(|values| values[at].as_ref()))
        }));
        keys.filter_map(|(key, value)| Some((key, value?)))
    }
}

fn place(key: u32) -> (usize, usize) {
    let key = key as usize;
    (key / PAGE, key % PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: values are found, changed, taken out and listed by their numbers, over pages.
    #[test]
    fn a_map_of_numbers() {
        let mut map = Dense::default();
        for key in [0, 63, 64, 1_000] {
            map.insert(key, key * 2);
        }
        assert_eq!(
            map.iter().map(|(key, value)| (key, *value)).collect::<Vec<_>>(),
            [(0, 0), (63, 126), (64, 128), (1_000, 2_000)]
        );
        *map.get_mut(64).unwrap() = 7;
        assert_eq!((map.get(64), map.get(65), map.get(99_999)), (Some(&7), None, None));
        assert_eq!((map.remove(64), map.remove(64), map.remove(5_000)), (Some(7), None, None));
        assert_eq!(map.iter().count(), 3);
        assert!(map.pages[1].is_none(), "a page without values is given back");
    }
}
