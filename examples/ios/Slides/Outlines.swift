// From probabilities to the corners of slides. Needs Foundation only.

import Foundation

/// Pixel (x, y) covers [x, x + 1) × [y, y + 1).
struct Point {
    var x, y: Double

    static func + (a: Point, b: Point) -> Point { Point(x: a.x + b.x, y: a.y + b.y) }
    static func - (a: Point, b: Point) -> Point { Point(x: a.x - b.x, y: a.y - b.y) }
    static func * (a: Point, by: Double) -> Point { Point(x: a.x * by, y: a.y * by) }
    func dot(_ other: Point) -> Double { x * other.x + y * other.y }
    func cross(_ other: Point) -> Double { x * other.y - y * other.x }
    var length: Double { dot(self).squareRoot() }
}

/// Corners clockwise from the top left.
struct Outline {
    var corners: [Point]
    var sure: Double
}

/// Settings that come with the model.
struct Settings: Decodable {
    var threshold, borderShare, minShare, minConfidence: Double
}

/// Probabilities of "slide" and "border", row by row.
struct ProbabilityMap {
    var inside, border: [Float]
    var width, height: Int
}

private struct Line {
    var point, direction: Point

    func crossing(_ other: Line) -> Point {
        let step = (other.point - point).cross(other.direction) / direction.cross(other.direction)
        return point + direction * step
    }
}

func findOutlines(_ map: ProbabilityMap, _ settings: Settings) -> [Outline] {
    let (width, height) = (map.width, map.height)
    let threshold = Float(settings.threshold)
    let seeds = components(width, height) { map.inside[$0] > threshold && map.inside[$0] >= map.border[$0] }
    var ids = seeds.ids
    let reach = Int((2 * settings.borderShare * Double(max(width, height))).rounded()) + 1
    grow(&ids, steps: reach, width, height) { map.inside[$0] + map.border[$0] > threshold }
    var regions = [[Int]](repeating: [], count: seeds.count + 1)
    for (i, id) in ids.enumerated() { regions[id].append(i) }
    return regions.dropFirst().compactMap { pixels in
        guard Double(pixels.count) >= settings.minShare * Double(ids.count),
            let corners = quadrilateral(edge(pixels, ids, width, height))
        else { return nil }
        let total = pixels.reduce(0.0) { $0 + Double(map.inside[$1] + map.border[$1]) }
        let sure = total / Double(pixels.count) * agreement(corners, pixels, width)
        return sure >= settings.minConfidence ? Outline(corners: corners, sure: sure) : nil
    }
}

/// Numbers 4-connected pixels from 1 up.
private func components(_ width: Int, _ height: Int, wanted: (Int) -> Bool) -> (ids: [Int], count: Int) {
    var ids = [Int](repeating: 0, count: width * height)
    var count = 0
    for start in ids.indices where ids[start] == 0 && wanted(start) {
        count += 1
        ids[start] = count
        var queue = [start]
        while let i = queue.popLast() {
            for next in neighbours(i, width, height) where ids[next] == 0 && wanted(next) {
                ids[next] = count
                queue.append(next)
            }
        }
    }
    return (ids, count)
}

/// Gives unnumbered pixels the number of the nearest numbered one, so many steps at most.
private func grow(_ ids: inout [Int], steps: Int, _ width: Int, _ height: Int, allowed: (Int) -> Bool) {
    var rim = ids.indices.filter { ids[$0] > 0 }
    for _ in 0..<steps {
        var next = [Int]()
        for i in rim {
            for j in neighbours(i, width, height) where ids[j] == 0 && allowed(j) {
                ids[j] = ids[i]
                next.append(j)
            }
        }
        rim = next
    }
}

private func neighbours(_ i: Int, _ width: Int, _ height: Int) -> [Int] {
    let x = i % width
    var found = [Int]()
    if x > 0 { found.append(i - 1) }
    if x < width - 1 { found.append(i + 1) }
    if i >= width { found.append(i - width) }
    if i < width * (height - 1) { found.append(i + width) }
    return found
}

/// Middles of all sides of pixels between a region and what is not.
private func edge(_ pixels: [Int], _ ids: [Int], _ width: Int, _ height: Int) -> [Point] {
    var points = [Point]()
    for i in pixels {
        let (column, row, id) = (i % width, i / width, ids[i])
        let (x, y) = (Double(column), Double(row))
        if column == 0 || ids[i - 1] != id { points.append(Point(x: x, y: y + 0.5)) }
        if column == width - 1 || ids[i + 1] != id { points.append(Point(x: x + 1, y: y + 0.5)) }
        if row == 0 || ids[i - width] != id { points.append(Point(x: x + 0.5, y: y)) }
        if row == height - 1 || ids[i + width] != id { points.append(Point(x: x + 0.5, y: y + 1)) }
    }
    return points
}

/// The tightest four sides round a region, each then laid along the region's edge.
private func quadrilateral(_ points: [Point]) -> [Point]? {
    guard var ring = four(of: hull(points)) else { return nil }
    for band in [0.06, 0.03] {
        let lines = (0..<4).map { laid(points, from: ring[$0], to: ring[($0 + 1) % 4], band: band) }
        ring = (0..<4).map { lines[($0 + 3) % 4].crossing(lines[$0]) }
    }
    return fromTopLeft(ring)
}

/// Andrew's monotone chain, clockwise as seen.
private func hull(_ points: [Point]) -> [Point] {
    let sorted = points.sorted { ($0.x, $0.y) < ($1.x, $1.y) }
    func half(_ run: [Point]) -> [Point] {
        var chain = [Point]()
        for point in run {
            while chain.count > 1, turn(chain[chain.count - 2], chain[chain.count - 1], point) <= 0 {
                chain.removeLast()
            }
            chain.append(point)
        }
        return Array(chain.dropLast())
    }
    return half(sorted) + half(sorted.reversed())
}

/// Takes away the side that costs least area until four are left.
private func four(of hull: [Point]) -> [Point]? {
    var ring = hull
    func at(_ k: Int) -> Point { ring[(k + ring.count) % ring.count] }
    while ring.count > 4 {
        var least: (cost: Double, k: Int, corner: Point)?
        for k in ring.indices {
            guard let corner = beyond(at(k - 1), at(k), at(k + 2), at(k + 1)) else { continue }
            let cost = turn(at(k), corner, at(k + 1))
            if cost < least?.cost ?? .infinity { least = (cost, k, corner) }
        }
        guard let chosen = least else { return nil }
        ring[chosen.k] = chosen.corner
        ring.remove(at: (chosen.k + 1) % ring.count)
    }
    return ring.count == 4 ? ring : nil
}

/// Twice the area of a triangle; positive where a, b, c run clockwise as seen (y is down).
private func turn(_ a: Point, _ b: Point, _ c: Point) -> Double { (b - a).cross(c - a) }

/// Where a–b, prolonged beyond b, meets d–c, prolonged beyond c; nil where they run apart.
private func beyond(_ a: Point, _ b: Point, _ d: Point, _ c: Point) -> Point? {
    let corner = Line(point: b, direction: b - a).crossing(Line(point: c, direction: c - d))
    let ahead = (corner - b).dot(b - a)
    return ahead >= 0 && ahead.isFinite ? corner : nil
}

/// The line that fits the points near a side best, by total least squares.
private func laid(_ points: [Point], from a: Point, to b: Point, band: Double) -> Line {
    let chord = b - a
    let square = chord.dot(chord)
    let near = points.filter {
        let along = ($0 - a).dot(chord)
        return along > 0.1 * square && along < 0.9 * square && abs(turn(a, b, $0)) < band * square
    }
    guard near.count >= 8 else { return Line(point: a, direction: chord) }
    let mean = near.reduce(Point(x: 0, y: 0), +) * (1 / Double(near.count))
    var (xy, difference) = (0.0, 0.0)
    for away in near.map({ $0 - mean }) {
        xy += away.x * away.y
        difference += away.x * away.x - away.y * away.y
    }
    let angle = atan2(2 * xy, difference) / 2
    return Line(point: mean, direction: Point(x: cos(angle), y: sin(angle)))
}

private func fromTopLeft(_ ring: [Point]) -> [Point] {
    func right(_ k: Int) -> Double {
        let side = ring[(k + 1) % 4] - ring[k]
        return side.x / side.length
    }
    let first = (0..<4).max { right($0) < right($1) } ?? 0
    return Array(ring[first...] + ring[..<first])
}

/// Intersection over union of a clockwise quadrilateral and a region.
private func agreement(_ corners: [Point], _ pixels: [Int], _ width: Int) -> Double {
    let shared = pixels.filter { i in
        let middle = Point(x: Double(i % width) + 0.5, y: Double(i / width) + 0.5)
        return (0..<4).allSatisfy { turn(corners[$0], corners[($0 + 1) % 4], middle) >= 0 }
    }.count
    let area = (turn(corners[0], corners[1], corners[2]) + turn(corners[0], corners[2], corners[3])) / 2
    return Double(shared) / (area + Double(pixels.count - shared))
}
