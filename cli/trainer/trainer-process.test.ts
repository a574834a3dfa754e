import { expect, test } from 'vitest'
import { TrainerSettings } from './trainer-process.ts'

const settings = {
  QUARTET_TRAINER_ID: 'trainer-1',
  QUARTET_EDGE_URL: 'http://127.0.0.1:8787',
  QUARTET_NODE_SECRET: 'x'.repeat(32),
}

test.each([
  ['QUARTET_TRAINER_THREADS', 'abc'],
  ['QUARTET_TRAINER_THREADS', '0'],
  ['QUARTET_TRAINER_THREADS', '1.5'],
  ['QUARTET_TRAINER_NICE', '20'],
  ['QUARTET_TRAINER_NICE', 'low'],
  ['QUARTET_WEIGHTS', 'q7'],
  ['QUARTET_BACKBONE', ''],
  ['QUARTET_EDGE_URL', 'edge'],
  ['QUARTET_TRAINER_BESIDE', '{'],
])('%s=%s is refused by its name', (name, value) => {
  const parsed = TrainerSettings.safeParse({ ...settings, [name]: value })
  const says = parsed.error?.issues.map(({ message }) => message) ?? []
  expect(says).toHaveLength(1)
  expect(says[0]).toContain(name)
})

test('a trainer needs only its name, an edge and the secret', () => {
  expect(TrainerSettings.parse(settings)).toMatchObject({
    QUARTET_TRAINER_NICE: 19,
    QUARTET_TRAINER_BESIDE: [],
  })
})
