import { closeSync, mkdirSync, openSync, renameSync, rmSync, statfsSync, writeSync } from "node:fs";
import { join } from "node:path";
import { runAs } from "../local/user.ts";

const PIECE_BYTES = 65_536;

/** A file system of its own for a directory, so that it can be full. */
export interface SmallDisk {
  /** Write until nothing more fits. */
  fill(): void;
  /** Take that away again. */
  free(): void;
  /** Unmount it; what was in it is gone. */
  remove(): Promise<void>;
}

/** Whether this process may mount what `moveToSmallDisk` needs. @param scratch an empty directory */
export async function mayMount(scratch: string): Promise<boolean> {
  try {
    await mount(scratch, 1);
    await unmount(scratch);
    return true;
  } catch {
    return false;
  }
}

/** Move a directory that nobody uses now, with all that is in it, to a disk in memory. */
export async function moveToSmallDisk(directory: string, megabytes: number): Promise<SmallDisk> {
  const before = `${directory}.before`;
  const ballast = join(directory, "ballast");
  renameSync(directory, before);
  mkdirSync(directory);
  await mount(directory, megabytes);
  await runAs(undefined, "cp", ["-Rp", `${before}/.`, directory]);
  rmSync(before, { recursive: true });
  return {
    fill() {
      const file = openSync(ballast, "a");
      try {
        while (statfsSync(directory).bavail > 0) writeSync(file, Buffer.alloc(PIECE_BYTES));
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
      } finally {
        closeSync(file);
      }
    },
    free: () => rmSync(ballast, { force: true }),
    remove: () => unmount(directory),
  };
}

async function mount(directory: string, megabytes: number): Promise<void> {
  await runAs(undefined, "mount", ["-t", "tmpfs", "-o", `size=${megabytes}m`, "tmpfs", directory]);
}

async function unmount(directory: string): Promise<void> {
  await runAs(undefined, "umount", [directory]);
}
