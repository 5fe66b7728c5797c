// From probabilities to the corners of slides, and from corners to straight pictures.
// Pixel (x, y) covers [x, x + 1) x [y, y + 1); corners run clockwise from the top left.

// `planes`: probabilities of each class, one plane after another; `photo`: settings in the model.
// Returns [{corners: [[x, y], …], sure}], in pixels of the planes.
export function findOutlines(planes, { width, height }, names, photo) {
  const area = width * height;
  const plane = (name) => {
    const at = names.indexOf(name);
    return at < 0 ? new Float32Array(area) : planes.subarray(at * area, (at + 1) * area);
  };
  const inside = plane("slide");
  const border = plane("border");
  const seeds = (i) => inside[i] > photo.threshold && inside[i] >= border[i];
  const { ids, count } = components(seeds, width, height);
  const reach = Math.round(2 * photo.border_share * Math.max(width, height)) + 1;
  grow(ids, (i) => inside[i] + border[i] > photo.threshold, reach, width, height);
  const regions = Array.from({ length: count + 1 }, () => ({ pixels: [], total: 0 }));
  ids.forEach((id, i) => {
    regions[id].pixels.push(i);
    regions[id].total += inside[i] + border[i];
  });
  const found = [];
  for (const { pixels, total } of regions.slice(1)) {
    if (pixels.length < photo.min_share * area) continue;
    const corners = quadrilateral(pixels, ids, width, height);
    if (!corners) continue;
    const sure = (total / pixels.length) * agreement(corners, pixels, width);
    if (sure >= photo.min_confidence) found.push({ corners, sure });
  }
  return found;
}

// Numbers 4-connected pixels from 1 up.
function components(wanted, width, height) {
  const ids = new Int32Array(width * height);
  let count = 0;
  for (let start = 0; start < ids.length; start++) {
    if (ids[start] || !wanted(start)) continue;
    ids[start] = ++count;
    for (let queue = [start]; queue.length; )
      for (const next of neighbours(queue.pop(), width, height))
        if (!ids[next] && wanted(next)) queue.push(next), (ids[next] = count);
  }
  return { ids, count };
}

// Gives unnumbered pixels the number of the nearest numbered one, so many steps at most.
function grow(ids, allowed, steps, width, height) {
  let rim = [...ids.keys()].filter((i) => ids[i]);
  for (; steps > 0 && rim.length; steps--) {
    const next = [];
    for (const i of rim)
      for (const j of neighbours(i, width, height))
        if (!ids[j] && allowed(j)) next.push(j), (ids[j] = ids[i]);
    rim = next;
  }
}

function* neighbours(i, width, height) {
  const x = i % width;
  if (x > 0) yield i - 1;
  if (x < width - 1) yield i + 1;
  if (i >= width) yield i - width;
  if (i < width * (height - 1)) yield i + width;
}

// The tightest four sides round a region, each then laid along the region's edge.
function quadrilateral(pixels, ids, width, height) {
  const points = edge(pixels, ids, width, height);
  let ring = fourOf(hull(points));
  if (!ring) return null;
  for (const band of [0.06, 0.03]) {
    const lines = ring.map((a, k) => laid(points, a, ring[(k + 1) % 4], band));
    ring = lines.map((line, k) => crossing(lines.at(k - 1), line));
  }
  return fromTopLeft(ring);
}

// Middles of all sides of pixels between a region and what is not.
function edge(pixels, ids, width, height) {
  const points = [];
  for (const i of pixels) {
    const [x, y, id] = [i % width, Math.floor(i / width), ids[i]];
    if (x === 0 || ids[i - 1] !== id) points.push([x, y + 0.5]);
    if (x === width - 1 || ids[i + 1] !== id) points.push([x + 1, y + 0.5]);
    if (y === 0 || ids[i - width] !== id) points.push([x + 0.5, y]);
    if (y === height - 1 || ids[i + width] !== id) points.push([x + 0.5, y + 1]);
  }
  return points;
}

// Takes away the side that costs least area until four are left.
function fourOf(ring) {
  while (ring.length > 4) {
    let least = { cost: Infinity };
    ring.forEach((b, k) => {
      const [a, c, d] = [-1, 1, 2].map((step) => ring.at((k + step) % ring.length));
      const corner = beyond(a, b, d, c);
      const cost = corner ? cross(b, corner, c) : Infinity;
      if (cost < least.cost) least = { cost, k, corner };
    });
    if (!least.corner) return null;
    ring[least.k] = least.corner;
    ring.splice((least.k + 1) % ring.length, 1);
  }
  return ring.length === 4 ? ring : null;
}

// The line (point, direction) that fits the points near a side best, by total least squares.
function laid(points, a, b, band) {
  const [cx, cy] = [b[0] - a[0], b[1] - a[1]];
  const square = cx * cx + cy * cy;
  const near = points.filter(([x, y]) => {
    const along = ((x - a[0]) * cx + (y - a[1]) * cy) / square;
    return along > 0.1 && along < 0.9 && Math.abs(cross(a, b, [x, y])) / square < band;
  });
  if (near.length < 8) return [a, [cx, cy]];
  const mean = [0, 1].map((axis) => near.reduce((sum, point) => sum + point[axis], 0) / near.length);
  let [xx, xy, yy] = [0, 0, 0];
  for (const point of near) {
    const [x, y] = [point[0] - mean[0], point[1] - mean[1]];
    (xx += x * x), (xy += x * y), (yy += y * y);
  }
  const angle = Math.atan2(2 * xy, xx - yy) / 2;
  return [mean, [Math.cos(angle), Math.sin(angle)]];
}

function crossing([p, u], [q, v]) {
  const step = ((q[0] - p[0]) * v[1] - (q[1] - p[1]) * v[0]) / (u[0] * v[1] - u[1] * v[0]);
  return [p[0] + step * u[0], p[1] + step * u[1]];
}

// Twice the area of a triangle; positive where a, b, c run clockwise as seen (y is down).
const cross = (a, b, c) => (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]);

// Where a–b, prolonged beyond b, meets d–c, prolonged beyond c; null where they run apart.
function beyond(a, b, d, c) {
  const [u, v] = [[b[0] - a[0], b[1] - a[1]], [c[0] - d[0], c[1] - d[1]]];
  const corner = crossing([b, u], [c, v]);
  const ahead = (corner[0] - b[0]) * u[0] + (corner[1] - b[1]) * u[1];
  return ahead >= 0 && Number.isFinite(ahead) ? corner : null;
}

// Andrew's monotone chain, clockwise as seen.
function hull(points) {
  const sorted = [...points].sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  const half = (run) => {
    const chain = [];
    for (const point of run) {
      while (chain.length > 1 && cross(chain.at(-2), chain.at(-1), point) <= 0) chain.pop();
      chain.push(point);
    }
    return chain.slice(0, -1);
  };
  return [...half(sorted), ...half(sorted.reverse())];
}

function fromTopLeft(ring) {
  const right = ring.map((a, k) => {
    const b = ring[(k + 1) % 4];
    return (b[0] - a[0]) / Math.hypot(b[0] - a[0], b[1] - a[1]);
  });
  const first = right.indexOf(Math.max(...right));
  return [...ring.slice(first), ...ring.slice(0, first)];
}

// Intersection over union of a clockwise quadrilateral and a region.
function agreement(corners, pixels, width) {
  const within = ([x, y]) => corners.every((a, k) => cross(a, corners[(k + 1) % 4], [x, y]) >= 0);
  const shared = pixels.filter((i) => within([(i % width) + 0.5, Math.floor(i / width) + 0.5]));
  const [a, b, c, d] = corners;
  const area = (cross(a, b, c) + cross(a, c, d)) / 2;
  return shared.length / (area + pixels.length - shared.length);
}

// Cuts a slide out of ImageData, as wide and high as its longer sides are, by bilinear sampling.
export function straightened(picture, corners) {
  const length = (k) => Math.hypot(...corners[k].map((at, axis) => corners[(k + 1) % 4][axis] - at));
  const width = Math.max(1, Math.round(Math.max(length(0), length(2))));
  const height = Math.max(1, Math.round(Math.max(length(1), length(3))));
  const h = homography(width, height, corners);
  const out = new ImageData(width, height);
  for (let v = 0, to = 0; v < height; v++)
    for (let u = 0; u < width; u++, to += 4) {
      const [s, t] = [u + 0.5, v + 0.5];
      const depth = h[6] * s + h[7] * t + 1;
      const x = (h[0] * s + h[1] * t + h[2]) / depth - 0.5;
      const y = (h[3] * s + h[4] * t + h[5]) / depth - 0.5;
      sample(picture, x, y, out.data, to);
    }
  return out;
}

function sample({ data, width, height }, x, y, out, to) {
  x = Math.min(Math.max(x, 0), width - 1);
  y = Math.min(Math.max(y, 0), height - 1);
  const [left, top] = [Math.min(Math.floor(x), width - 2), Math.min(Math.floor(y), height - 2)];
  const [p, q] = [x - left, y - top];
  const at = 4 * (top * width + left);
  const below = at + 4 * width;
  for (let channel = 0; channel < 4; channel++)
    out[to + channel] =
      (1 - q) * ((1 - p) * data[at + channel] + p * data[at + 4 + channel]) +
      q * ((1 - p) * data[below + channel] + p * data[below + 4 + channel]);
}

// The map from 0..width, 0..height to a quadrilateral (Heckbert 1989), its last number 1 left out.
export function homography(width, height, [[x0, y0], [x1, y1], [x2, y2], [x3, y3]]) {
  const [dx1, dx2, sx] = [x1 - x2, x3 - x2, x0 - x1 + x2 - x3];
  const [dy1, dy2, sy] = [y1 - y2, y3 - y2, y0 - y1 + y2 - y3];
  const turn = dx1 * dy2 - dx2 * dy1;
  const [g, k] = [(sx * dy2 - dx2 * sy) / turn, (dx1 * sy - sx * dy1) / turn];
  return [
    (x1 - x0 + g * x1) / width, (x3 - x0 + k * x3) / height, x0,
    (y1 - y0 + g * y1) / width, (y3 - y0 + k * y3) / height, y0,
    g / width, k / height,
  ];
}
