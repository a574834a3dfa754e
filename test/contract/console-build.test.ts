import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { assetsFolder, buildConsole } from '../../console/build.ts'

const folder = join(assetsFolder, 'console')
const files = async () =>
  Promise.all(
    (await readdir(folder)).sort().map(async (name) => {
      const { ctimeMs, ino } = await stat(join(folder, name))
      return { name, ctimeMs, ino }
    }),
  )

test('the console is built beside a worker that serves it: files that are right stay the same files', async () => {
  await buildConsole()
  const served = await files()
  expect(served.map(({ name }) => name)).toEqual(['console.css', 'console.js', 'icon.svg', 'index.html'])
  await Promise.all([buildConsole(), buildConsole()])
  expect(await files()).toEqual(served)
})
