import { configDefaults, defineConfig } from 'vitest/config'

/** Files of tests that measure their process's memory, which no other file may share. */
const alone = ['model/**/*.process.test.ts']

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'node',
          include: [
            '{shared,model,training,gpu-node,cli,bench,experiments}/**/*.test.ts',
            'test/{contract,parity}/**/*.test.ts',
          ],
          exclude: [...configDefaults.exclude, ...alone],
          testTimeout: 120_000,
          hookTimeout: 300_000,
          // For the processes that tests start: more threads would wait busily for each other.
          env: { QUARTET_THREADS: '1', QUARTET_TRAINER_THREADS: '1' },
          // A worker imports each module once, not for each file again: what a test changes of a module or the process it puts back.
          isolate: false,
          // Vitest's default leaves one core idle.
          maxWorkers: 2,
          sequence: { groupOrder: 0 },
        },
      },
      { test: { name: 'process', include: alone, maxWorkers: 2, sequence: { groupOrder: 0 } } },
      './edge/vitest.config.ts',
      {
        test: {
          name: 'e2e',
          include: ['test/e2e/**/*.test.ts'],
          globalSetup: ['test/e2e/global-setup.ts'],
          testTimeout: 120_000,
          hookTimeout: 600_000,
          fileParallelism: false,
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
})
