// The exported network: a photo in, outlines and straightened slides out.

import CoreImage
import CoreImage.CIFilterBuiltins
import CoreML

struct SlideFinder {
    enum Fault: Error { case noModel, notForPhotos, noPicture }

    private struct Named: Decodable { var name: String }
    private struct Use: Decodable { var photo: Settings }

    private let model: MLModel
    private let names: [String]
    private let settings: Settings
    private let constraint: MLImageConstraint
    private let context = CIContext()

    /// Opens photo.mlpackage, which Xcode compiles; its classes and settings are read from it.
    init() throws {
        guard let url = Bundle.main.url(forResource: "photo", withExtension: "mlmodelc") else { throw Fault.noModel }
        model = try MLModel(contentsOf: url)
        let description = model.modelDescription
        let told = description.metadata[.creatorDefinedKey] as? [String: String]
        guard let classes = told?["slidemask.classes"], let use = told?["slidemask.use"],
            let constraint = description.inputDescriptionsByName["image"]?.imageConstraint
        else { throw Fault.notForPhotos }
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        names = try decoder.decode([Named].self, from: Data(classes.utf8)).map(\.name)
        settings = try decoder.decode(Use.self, from: Data(use.utf8)).photo
        self.constraint = constraint
    }

    /// Outlines in the photo's pixels. The photo stands upright.
    func find(in photo: CGImage) throws -> [Outline] {
        let (rows, columns) = (constraint.pixelsHigh, constraint.pixelsWide)
        let ratio = min(Double(columns) / Double(photo.width), Double(rows) / Double(photo.height))
        let width = Int((Double(photo.width) * ratio).rounded())
        let height = Int((Double(photo.height) * ratio).rounded())
        let image = try seen(photo, width, height)
        let value = try MLFeatureValue(cgImage: image, constraint: constraint)
        let answer = try model.prediction(from: MLDictionaryFeatureProvider(dictionary: ["image": value]))
        guard let array = answer.featureValue(for: "probabilities")?.multiArrayValue else { throw Fault.notForPhotos }
        let probabilities = MLShapedArray<Float>(converting: array).scalars  // 1, classes, rows, columns
        func plane(_ name: String) -> [Float] {
            guard let number = names.firstIndex(of: name) else { return Array(repeating: 0, count: width * height) }
            return (0..<width * height).map { probabilities[(number * rows + $0 / width) * columns + $0 % width] }
        }
        let map = ProbabilityMap(inside: plane("slide"), border: plane("border"), width: width, height: height)
        let (x, y) = (Double(photo.width) / Double(width), Double(photo.height) / Double(height))
        return findOutlines(map, settings).map { outline in
            Outline(corners: outline.corners.map { Point(x: $0.x * x, y: $0.y * y) }, sure: outline.sure)
        }
    }

    /// The photo at the top left of what the network sees, grey where it does not reach.
    private func seen(_ photo: CGImage, _ width: Int, _ height: Int) throws -> CGImage {
        let (rows, columns) = (constraint.pixelsHigh, constraint.pixelsWide)
        guard let canvas = CGContext(
            data: nil, width: columns, height: rows, bitsPerComponent: 8, bytesPerRow: 0,
            space: CGColorSpaceCreateDeviceRGB(), bitmapInfo: CGImageAlphaInfo.noneSkipLast.rawValue)
        else { throw Fault.noPicture }
        canvas.setFillColor(gray: 0.5, alpha: 1)
        canvas.fill(CGRect(x: 0, y: 0, width: columns, height: rows))
        canvas.interpolationQuality = .high
        canvas.draw(photo, in: CGRect(x: 0, y: rows - height, width: width, height: height))  // y is up
        guard let image = canvas.makeImage() else { throw Fault.noPicture }
        return image
    }

    /// Cuts a slide out and straightens it.
    func straightened(_ photo: CGImage, _ corners: [Point]) -> CGImage? {
        let places = corners.map { CGPoint(x: $0.x, y: Double(photo.height) - $0.y) }  // y is up
        let filter = CIFilter.perspectiveCorrection()
        filter.inputImage = CIImage(cgImage: photo)
        (filter.topLeft, filter.topRight) = (places[0], places[1])
        (filter.bottomRight, filter.bottomLeft) = (places[2], places[3])
        return filter.outputImage.flatMap { context.createCGImage($0, from: $0.extent) }
    }
}
