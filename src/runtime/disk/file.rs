//! One file under direct I/O.

use crate::runtime::aside;
use crate::runtime::disk::{BLOCK_BYTES, DiskError, Failure, TRANSFER_BYTES_MAX, alignment};
use glommio::io::{DmaBuffer, DmaFile, OpenOptions, ReadResult};
use std::ops::Deref;
use std::os::fd::{AsRawFd, RawFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// It must be there; it is read and written.
    Existing,
    /// The same, and every write is durable when it ends.
    WriteThrough,
    /// It becomes an empty file, whether it was there or not.
    Emptied,
}

/// A file that is read and written in whole blocks, past the page cache.
pub struct DirectFile {
    file: DmaFile,
    path: PathBuf,
}

impl DirectFile {
    /// Opens a file. It is always opened for reading too: glommio tries a read on what it opens.
    pub async fn open(path: &Path, opening: Opening) -> Result<DirectFile, DiskError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).mode(0o644);
        match opening {
            Opening::Existing => {}
            Opening::WriteThrough => {
                options.custom_flags(libc::O_DSYNC);
            }
            Opening::Emptied => {
                options.create(true).truncate(true);
            }
        }
        let file = options
            .dma_open(path)
            .await
            .map_err(|error| DiskError::new("open", path, Failure::of_runtime(&error)))?;
        alignment::check(path)?;
        Ok(DirectFile {
            file,
            path: path.to_path_buf(),
        })
    }

    /// For the kernel, as long as this is open.
    pub fn descriptor(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A buffer for so many bytes, whole blocks, with whatever was in it before.
    pub fn buffer(&self, bytes: usize) -> DmaBuffer {
        assert!(bytes > 0, "an empty write");
        assert!(
            (bytes as u64).is_multiple_of(BLOCK_BYTES),
            "a write of {bytes} bytes is not whole blocks"
        );
        self.file.alloc_dma_buffer(bytes)
    }

    /// Writes all of a buffer. A write that ends short goes on behind what was written, so that the
    /// reason shows; the bytes that the kernel took are never written again.
    pub async fn write(&self, buffer: DmaBuffer, offset: u64) -> Result<(), Failure> {
        assert!(
            offset.is_multiple_of(BLOCK_BYTES),
            "offset {offset} is not a block's"
        );
        let mut buffer = Rc::new(buffer);
        let mut offset = offset;
        loop {
            let wanted = buffer.len();
            let result = self.file.write_rc_at(buffer.clone(), offset).await;
            let written = result.map_err(|error| Failure::of_runtime(&error))?;
            if written == wanted {
                return Ok(());
            }
            if written == 0 || written > wanted || !(written as u64).is_multiple_of(BLOCK_BYTES) {
                return Err(Failure::of_code(libc::EIO));
            }
            let mut rest = self.file.alloc_dma_buffer(wanted - written);
            rest.as_bytes_mut()
                .copy_from_slice(&buffer.as_bytes()[written..]);
            buffer = Rc::new(rest);
            offset += written as u64;
        }
    }

    /// Copies bytes into buffers of a bounded size and writes them one after the other.
    pub async fn write_bytes(&self, bytes: &[u8], offset: u64) -> Result<(), Failure> {
        let mut offset = offset;
        for part in bytes.chunks(TRANSFER_BYTES_MAX) {
            let mut buffer = self.buffer(part.len());
            buffer.as_bytes_mut().copy_from_slice(part);
            self.write(buffer, offset).await?;
            offset += part.len() as u64;
        }
        Ok(())
    }

    /// Writes zeros from one offset up to another.
    pub async fn write_zeros(&self, from: u64, to: u64) -> Result<(), Failure> {
        let mut offset = from;
        while offset < to {
            let bytes = (to - offset).min(TRANSFER_BYTES_MAX as u64);
            let mut buffer = self.buffer(bytes as usize);
            buffer.as_bytes_mut().fill(0);
            self.write(buffer, offset).await?;
            offset += bytes;
        }
        Ok(())
    }

    /// Reads so many bytes, or what there is before the end of the file.
    pub async fn read(&self, offset: u64, bytes: usize) -> Result<ReadBytes, Failure> {
        assert!(
            offset.is_multiple_of(BLOCK_BYTES),
            "offset {offset} is not a block's"
        );
        assert!(
            (bytes as u64).is_multiple_of(BLOCK_BYTES),
            "a read of {bytes} bytes is not whole blocks"
        );
        let first = self
            .read_once(offset, bytes.min(TRANSFER_BYTES_MAX))
            .await?;
        if first.len() == bytes || ends_inside(&first) {
            return Ok(ReadBytes::Buffer(first));
        }
        let mut all = first.to_vec();
        while all.len() < bytes {
            let wanted = (bytes - all.len()).min(TRANSFER_BYTES_MAX);
            let part = self.read_once(offset + all.len() as u64, wanted).await?;
            all.extend_from_slice(&part);
            if ends_inside(&part) {
                break;
            }
        }
        Ok(ReadBytes::Copied(all))
    }

    async fn read_once(&self, offset: u64, bytes: usize) -> Result<ReadResult, Failure> {
        let result = self.file.read_at_aligned(offset, bytes).await;
        result.map_err(|error| Failure::of_runtime(&error))
    }

    /// Makes durable what was written to the file, by whomever.
    pub async fn sync(&self) -> Result<(), Failure> {
        let result = self.file.fdatasync().await;
        result.map_err(|error| Failure::of_runtime(&error))
    }

    /// Cuts the file off.
    pub async fn truncate(&self, bytes: u64) -> Result<(), Failure> {
        let result = aside::during(self.file.truncate(bytes)).await;
        result.map_err(|error| Failure::of_runtime(&error))
    }

    /// Closes the file. Dropping one closes it too, but at some later time of the executor, if that
    /// comes.
    pub async fn close(self) -> Result<(), Failure> {
        let result = self.file.close().await;
        result.map_err(|error| Failure::of_runtime(&error))
    }

    /// How long the file is.
    pub async fn length(&self) -> Result<u64, Failure> {
        let result = self.file.file_size().await;
        result.map_err(|error| Failure::of_runtime(&error))
    }
}

/// Whether a read met the end of the file: a direct read cannot go on from inside a block.
fn ends_inside(read: &[u8]) -> bool {
    read.is_empty() || !(read.len() as u64).is_multiple_of(BLOCK_BYTES)
}

/// What a read has brought: the kernel's buffer, or a copy where several reads were needed.
pub enum ReadBytes {
    /// One read, in the buffer that it went into.
    Buffer(ReadResult),
    /// Several reads, put together.
    Copied(Vec<u8>),
}

impl Deref for ReadBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            ReadBytes::Buffer(result) => result,
            ReadBytes::Copied(bytes) => bytes,
        }
    }
}
