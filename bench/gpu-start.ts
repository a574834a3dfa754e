import { Crossing } from '../model/runtime/crossing.ts'
import type { Device } from '../model/runtime/session.ts'
import { float32 } from '../model/runtime/tensors.ts'
import type { Figure } from './report.ts'

/** Numbers that a device gives back as others than it was given. Throws `node_unavailable` where it does not start. */
export async function startFigure(device: Device): Promise<Figure> {
  await using opened = new AsyncDisposableStack()
  const crossing = opened.adopt(
    await Crossing.open(device, [{ name: 'numbers', type: 'float32', axes: 1 }]),
    (released) => released.release(),
  )
  const given = Float32Array.from({ length: 4096 }, (_, at) => Math.sqrt(at))
  const found = new Float32Array(given.length)
  using there = crossing.memory.allocate({ type: 'float32', dims: [given.length] })
  await crossing.copy({ from: { numbers: float32(given, [given.length]) }, to: { numbers: there } })
  await crossing.copy({ from: { numbers: there }, to: { numbers: float32(found, [found.length]) } })
  return {
    name: 'numbers that come back from the device as others',
    value: given.reduce((count, number, at) => (number === found[at] ? count : count + 1), 0),
    unit: `of ${given.length}`,
    bound: { kind: 'at most', value: 0 },
  }
}
