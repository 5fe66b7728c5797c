// One screen: a button for the camera, then the photo with outlines and the crops.

import SwiftUI
import UIKit

@main
struct SlidesApp: App {
    var body: some Scene { WindowGroup { ContentView() } }
}

struct Found {
    var photo: CGImage
    var outlines: [Outline]
    var crops: [CGImage]
}

struct ContentView: View {
    @State private var found: Found?
    @State private var said = ""
    @State private var takesPicture = false

    var body: some View {
        ScrollView {
            VStack(spacing: 16) {
                Button("Take picture") { takesPicture = true }
                    .buttonStyle(.borderedProminent)
                Text("\(said) Research use only. Not for diagnosis.").font(.footnote)
                if let found {
                    picture(found.photo).overlay { outlines(found) }
                    ForEach(found.crops.indices, id: \.self) { picture(found.crops[$0]) }
                }
            }
            .padding()
        }
        .fullScreenCover(isPresented: $takesPicture) {
            Camera { photo in
                takesPicture = false
                if let photo { Task { await look(at: photo) } }
            }
            .ignoresSafeArea()
        }
    }

    private func picture(_ image: CGImage) -> some View {
        Image(decorative: image, scale: 1).resizable().scaledToFit()
    }

    private func outlines(_ found: Found) -> some View {
        GeometryReader { frame in
            let scale = Double(frame.size.width) / Double(found.photo.width)
            Path { path in
                for outline in found.outlines {
                    path.addLines(outline.corners.map { CGPoint(x: $0.x * scale, y: $0.y * scale) })
                    path.closeSubpath()
                }
            }
            .stroke(.green, lineWidth: 3)
        }
    }

    private func look(at photo: UIImage) async {
        do {
            let result = try await Task.detached { () throws -> Found in
                guard let upright = photo.upright else { throw SlideFinder.Fault.noPicture }
                let finder = try SlideFinder()
                let outlines = try finder.find(in: upright)
                let crops = outlines.compactMap { finder.straightened(upright, $0.corners) }
                return Found(photo: upright, outlines: outlines, crops: crops)
            }.value
            found = result
            said = "Slides: \(result.outlines.count)."
        } catch {
            said = "\(error)"
        }
    }
}

/// The system's camera.
struct Camera: UIViewControllerRepresentable {
    var done: (UIImage?) -> Void

    func makeUIViewController(context: Context) -> UIImagePickerController {
        let picker = UIImagePickerController()
        picker.sourceType = UIImagePickerController.isSourceTypeAvailable(.camera) ? .camera : .photoLibrary
        picker.delegate = context.coordinator
        return picker
    }

    func updateUIViewController(_: UIImagePickerController, context _: Context) {}

    func makeCoordinator() -> Coordinator { Coordinator(done: done) }

    final class Coordinator: NSObject, UIImagePickerControllerDelegate, UINavigationControllerDelegate {
        private let done: (UIImage?) -> Void

        init(done: @escaping (UIImage?) -> Void) { self.done = done }

        func imagePickerController(
            _: UIImagePickerController, didFinishPickingMediaWithInfo info: [UIImagePickerController.InfoKey: Any]
        ) {
            done(info[.originalImage] as? UIImage)
        }

        func imagePickerControllerDidCancel(_: UIImagePickerController) { done(nil) }
    }
}

extension UIImage {
    /// Its pixels as seen, whatever the camera's orientation.
    fileprivate var upright: CGImage? {
        let format = UIGraphicsImageRendererFormat()
        format.scale = 1
        let pixels = CGSize(width: size.width * scale, height: size.height * scale)
        return UIGraphicsImageRenderer(size: pixels, format: format).image { _ in
            draw(in: CGRect(origin: .zero, size: pixels))
        }.cgImage
    }
}
